"""The probe: what each network predicts for random rows, written with it and compared when it is loaded (T34)."""

import keras
import numpy as np

from skensemble.io._errors import FormatError, IntegrityError, PersistenceError

N_ROWS = 4
#: How far predictions may be from those of the process that wrote the file, relative to their size: rounding on another
#: machine stays far below, a layer that works differently far above.
_TOLERANCE = 1e-5


def write_probe(model, where, name, writer):
    """Add to a file what a model predicts, unless it has several inputs or one of unknown shape."""
    rows = _rows(model)
    if rows is None:
        return
    try:
        writer.probe[name] = _predictions(model, rows)
    except Exception as error:  # whatever a layer raises
        raise PersistenceError(f"{where} cannot be saved: it does not predict random rows: {error}") from error


def check_probe(model, where, name, reader):
    """Refuse a model that does not predict what it predicted in the process that wrote the file."""
    rows = _rows(model)
    if reader.probe is None or rows is None:
        return
    if name not in reader.probe:
        raise FormatError(f"{where} has no prediction in the probe.")
    outputs, expected = _predictions(model, rows), reader.probe[name]
    if outputs.shape != expected.shape or not np.allclose(
        outputs, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    ):
        raise IntegrityError(
            f"{where} does not predict what it predicted when it was saved: a layer works differently with this "
            "version of Keras. Load it with the versions that `skensemble.io.inspect` shows."
        )


def _rows(model):
    """Random rows for a model, the same each time; None where it has several inputs or one of unknown shape."""
    inputs = model.inputs if hasattr(model, "inputs") else None
    if not isinstance(inputs, list) or len(inputs) != 1:
        return None
    shape = [4 if size is None else size for size in inputs[0].shape[1:]]
    rows = np.random.default_rng(0).random((N_ROWS, *shape))
    return rows.astype(keras.backend.standardize_dtype(inputs[0].dtype))


def _predictions(model, rows):
    outputs = [np.asarray(output, dtype=np.float64) for output in keras.tree.flatten(model(rows, training=False))]
    return np.concatenate([output.reshape(len(rows), -1) for output in outputs], axis=1)
