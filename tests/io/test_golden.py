from pathlib import Path

import numpy as np
import pytest
from golden.make import VERSION, public_estimators

from skensemble import io

FILES = sorted((Path(__file__).parent / "golden").glob("*.skens"))


def test_every_class_has_a_file():
    """Of each public class a file of the current format is kept."""
    assert {f"{name}-{VERSION}.skens" for name in public_estimators()} <= {path.name for path in FILES}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")  # the files do not grow younger
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_released_formats_load(path):
    """A file predicts what Keras predicted when it was written, with any later version."""
    metadata = io.inspect(path).metadata
    estimator = io.load(path)
    X = np.array(metadata["X"], dtype="float32")
    predictions = estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)
    expected = np.reshape(metadata["expected"], predictions.shape)
    np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-6)
