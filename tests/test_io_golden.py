from pathlib import Path

import numpy as np
import pytest

from skensemble import io

FILES = sorted((Path(__file__).parent / "golden").glob("*.skens"))


def test_every_kind_of_file_is_there():
    """Copies, different members and an average are kept of the first format."""
    assert {"averaging-1.0.skens", "voting-1.0.skens", "polyak-1.0.skens"} <= {path.name for path in FILES}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")  # the files do not grow younger
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_released_formats_load(path):
    """A file predicts what Keras predicted when it was written, with any later version."""
    metadata = io.inspect(path).metadata
    estimator = io.load(path)
    X = np.array(metadata["X"], dtype="float32")
    predictions = estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)
    np.testing.assert_allclose(predictions, metadata["expected"], rtol=1e-5, atol=1e-6)
