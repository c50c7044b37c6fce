"""State and data of the fused program: in and out of models, onto tensors, in chunks.

`State` holds the variables of all members, stacked. Data stay in memory once, as tensors, where X is small enough; a
larger X (a memory map) stays where it is, and `chunks` gathers the rows of some steps at a time.
"""

import dataclasses
from collections import namedtuple

import keras
import numpy as np
import tensorflow as tf

from skensemble._pure_optimizer import CONSTANT_START
from skensemble._step import adapted_layers, read_variables

#: X of more bytes than this stays on the host (a memory map, say); chunks of steps of at most `CHUNK_BYTES` are
#: gathered there.
RESIDENT_BYTES, CHUNK_BYTES = 256 * 2**20, 32 * 2**20
#: Bytes of one row in the order in which a member visits them (int32).
ROW_ORDER_BYTES = 4


@dataclasses.dataclass
class State:
    """Variables of all members, stacked: lists of tensors of shape (n_members, ...).

    Attributes
    ----------
    trainable, non_trainable, optimizer : list of tf.Tensor
        Ordered as in Keras; `optimizer` is empty where the state serves prediction only.
    active : bool ndarray of shape (n_members,)
        Members that `Program.run` trains; the others stay as they are. ``stop_on_nan`` switches members off, a caller
        may too.
    epochs_run : int ndarray of shape (n_members,)
        Epochs that each member trained in the last `Program.run`, the one in which it stopped included.
    """

    trainable: list
    non_trainable: list
    optimizer: list
    active: np.ndarray
    epochs_run: np.ndarray

    @property
    def parts(self):
        """(trainable, non_trainable, optimizer)."""
        return self.trainable, self.non_trainable, self.optimizer


def read_state(model):
    """Variables of a model as NumPy arrays.

    Returns
    -------
    (trainable, non_trainable, optimizer) : lists of ndarray
        As Keras orders them; seed-generator states are among `non_trainable`. The slots of an optimizer that was not
        built yet are missing
        from `optimizer` where they start from constants; `Program.stack` adds them.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built and type(optimizer) not in CONSTANT_START:
        optimizer.build(model.trainable_variables)
    return tuple([v.numpy() for v in part] for part in read_variables(model))


def write_state(model, arrays):
    """Put arrays as of `read_state` or `Program.unstack` into a model, building its optimizer if need be."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built and arrays[2]:
        optimizer.build(model.trainable_variables)
    for variables, values in zip(read_variables(model), arrays, strict=True):
        if values:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
    for layer in adapted_layers(model):
        layer.finalize_state()


def stack_values(values):
    """Lists of (trainable, non_trainable) values of models of one architecture as tensors with one row a model."""
    return tuple([tf.stack(column) for column in zip(*part, strict=True)] for part in zip(*values, strict=True))


Data = namedtuple("Data", "X y sample_weight")


def load_data(X, y, sample_weight=None):
    """Data for `Program.run`: floats in Keras' ``floatx``; as tensors where X is small enough, else left on the host.

    Calling it once and passing the result to every `Program.run` saves a copy per call.

    Parameters
    ----------
    X : ndarray or memmap of shape (n_rows, ...)
    y : ndarray of shape (n_rows, ...)
    sample_weight : None or ndarray of shape (n_rows,) or (n_members, n_rows)
    """
    if isinstance(X, tf.Tensor):
        return Data(X, y, sample_weight)
    X = X if isinstance(X, np.ndarray) else np.asarray(X)
    parts = [None if part is None else as_floatx(part) for part in (X, y, sample_weight)]
    if X.nbytes <= RESIDENT_BYTES:
        parts = [None if part is None else tf.convert_to_tensor(part) for part in parts]
    return Data(*parts)


def as_floatx(array):
    """Floats become Keras' floatx, as in `Model.fit`; a memory map is converted when its rows are gathered."""
    array = array if isinstance(array, np.ndarray) else np.asarray(array)
    if array.dtype.kind == "f" and array.nbytes <= RESIDENT_BYTES:
        array = array.astype(keras.config.floatx(), copy=False)
    return array


def chunks(data, order, batch_size, order_bytes):
    """Yield (first row, data of some steps, their rows in it) for `order` (n_members, n_rows).

    Data on the host are gathered, at most `CHUNK_BYTES`; of row orders for data in tensors at most `order_bytes`.
    """
    on_host = not tf.is_tensor(data.X)
    row_bytes, limit = (data.X[:1].nbytes, CHUNK_BYTES) if on_host else (ROW_ORDER_BYTES, order_bytes)
    size = batch_size * max(1, limit // max(1, row_bytes * len(order) * batch_size))
    for start in range(0, order.shape[1], size):
        rows = order[:, start : start + size]
        if not on_host:
            yield start, present(data), tf.constant(rows, "int32")
            continue
        parts = []
        for part in present(data):
            part = part.numpy() if tf.is_tensor(part) else part
            taken = (
                part[rows.ravel()]
                if part is data.y or part is data.X or part.ndim == 1
                else np.take_along_axis(part, rows, 1).ravel()
            )
            parts.append(tf.convert_to_tensor(as_floatx(taken)))
        yield start, tuple(parts), tf.reshape(tf.range(rows.size), rows.shape)


def padded(array, n_epochs, dtype):
    """`array` with zeros for the epochs that are not run, as a tensor."""
    padded = np.zeros((n_epochs, *array.shape[1:]), dtype)
    padded[: len(array)] = array
    return tf.convert_to_tensor(padded)


def present(data):
    return tuple(part for part in data if part is not None)


def specs_of(data):
    """Specs of (X, y[, sample_weight]) whose number of rows is not part of the program."""
    return tuple(
        tf.TensorSpec(
            (None, *part.shape[1:]) if i < 2 or len(part.shape) == 1 else (part.shape[0], None), _tf_dtype(part)
        )
        for i, part in enumerate(present(data))
    )


def _tf_dtype(part):
    """The dtype that `part` has in the program."""
    if tf.is_tensor(part):
        return part.dtype
    return tf.as_dtype(keras.config.floatx() if part.dtype.kind == "f" else part.dtype)


def first_rows(data):
    X, y, weights = data
    first = tf.convert_to_tensor(X[:1]), tf.convert_to_tensor(y[:1])
    return *first, None if weights is None else tf.ones(1, keras.config.floatx())


def gather_batches(data, rows):
    """The batches of all members: parts of shape (n_members, n, ...)."""
    X, y, *weights = data
    batch = [tf.gather(X, rows), tf.gather(y, rows)]
    for w in weights:
        batch.append(tf.gather(w, rows) if w.shape.rank == 1 else tf.gather(w, rows, batch_dims=1))
    return tuple(batch)
