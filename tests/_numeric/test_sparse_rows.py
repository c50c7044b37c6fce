import numpy as np
import pytest
import scipy.sparse
from program_cases import cost_model
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._numeric import host_rows
from skensemble._numeric.host_rows import take_rows
from skensemble._numeric.sparse_rows import SparseRows, dense_or_rows

TRAINED_FLOAT32 = {"rtol": 1e-3, "atol": 1e-4}


def _make_data():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(60, 7)).astype("float32") * (rng.random((60, 7)) < 0.4)
    return dense, np.where(dense[:, 0] + dense[:, 1] > 0, "yes", "no")


X, Y = _make_data()


def mlp(**params):
    return KerasClassifier(hidden_layer_sizes=(3,), **{"epochs": 2, "batch_size": 25, **params})


ENSEMBLES = {
    "averaging": KerasAveragingClassifier(mlp(), n_estimators=2, bootstrap=True, weights="greedy", random_state=0),
    "validated": KerasAveragingClassifier(mlp(validation_split=0.2), n_estimators=2, random_state=0),
    "voting": KerasVotingClassifier([("n", mlp()), ("l", LogisticRegression())], weights="greedy", random_state=0),
    "stacking": StackedKerasClassifier(
        [("n", mlp()), ("l", LogisticRegression())], mlp(), cv=2, passthrough=True, random_state=0
    ),
    "snapshot": SnapshotEnsembleClassifier(mlp(), n_estimators=2, random_state=0),
    "polyak": PolyakWeightClassifier(mlp(), n_checkpoints=2, random_state=0),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_large_sparse_data_never_become_dense(name, monkeypatch):
    """Training and prediction make batches dense, never all rows, and give what they give on the dense array."""
    ensemble = ENSEMBLES[name].fit(X, Y)
    expected = ensemble.predict_proba(X)
    sparse = scipy.sparse.csr_array(X)
    np.testing.assert_allclose(ensemble.fit(sparse, Y).predict_proba(sparse), expected, **TRAINED_FLOAT32)

    def to_dense(rows, indices):
        dense = rows.matrix[indices].toarray()
        assert len(dense) < len(X)
        return dense

    monkeypatch.setattr(host_rows, "DENSE_BYTES", 0)
    monkeypatch.setattr(cost_model, "CHUNK_BYTES", 25 * X[:1].nbytes, raising=False)  # on JAX, batches
    monkeypatch.setattr(host_rows, "BYTES_AT_ONCE", 25 * X[:1].nbytes)
    monkeypatch.setattr(SparseRows, "__getitem__", to_dense)
    for form in (scipy.sparse.csr_matrix, scipy.sparse.coo_array):
        fitted = ensemble.fit(form(X), Y)
        assert fitted.engine_ == "fused"
        np.testing.assert_allclose(fitted.predict_proba(form(X)), expected, **TRAINED_FLOAT32)


def test_sparse_data_in_keras_own_fit(monkeypatch):
    """With `engine="keras"` large sparse data go to Keras as they are, rows of members and of validation included."""
    ensemble = KerasAveragingClassifier(
        mlp(run_eagerly=True), n_estimators=2, bootstrap=True, oob_validation=True, engine="keras", random_state=0
    )
    expected = ensemble.fit(X, Y)
    proba, histories = expected.predict_proba(X), [member.history_["val_loss"] for member in expected.estimators_]
    monkeypatch.setattr(host_rows, "DENSE_BYTES", 0)
    fitted = ensemble.fit(scipy.sparse.csr_array(X), Y)
    np.testing.assert_allclose(fitted.predict_proba(X), proba, **TRAINED_FLOAT32)
    np.testing.assert_allclose([m.history_["val_loss"] for m in fitted.estimators_], histories, **TRAINED_FLOAT32)


def test_members_that_are_no_networks_get_the_sparse_matrix():
    """Others take the sparse matrix as it came, scored in cross-validation as scikit-learn does."""
    seen = []

    class Records(LogisticRegression):
        def fit(self, X, y):
            seen.append(X)
            return super().fit(X, y)

    sparse = scipy.sparse.csc_array(X)
    voting = KerasVotingClassifier([("l", Records()), ("n", mlp(run_eagerly=True))], weights=[1, 0])
    assert voting.fit(sparse, Y).estimators_[0] is not None
    assert seen[0] is sparse
    alone = KerasVotingClassifier([("l", LogisticRegression())])
    np.testing.assert_allclose(
        cross_val_score(alone, sparse, Y, cv=3), cross_val_score(LogisticRegression(), sparse, Y, cv=3)
    )


def test_sparse_rows():
    """Rows come as dense arrays of the dense matrix; `take` keeps them sparse."""
    rows = SparseRows(scipy.sparse.coo_matrix(X))
    assert (rows.shape, len(rows), rows.ndim, rows.dtype, rows.nbytes) == (X.shape, 60, 2, X.dtype, X.nbytes)
    np.testing.assert_array_equal(rows[3:6], X[3:6])
    np.testing.assert_array_equal(rows[np.array([5, 5, 0])], X[[5, 5, 0]])
    taken = take_rows(rows, np.array([7, 1]))
    assert isinstance(taken, SparseRows)
    np.testing.assert_array_equal(taken[:], X[[7, 1]])
    assert isinstance(dense_or_rows(scipy.sparse.csr_array(X)), np.ndarray)
    assert dense_or_rows(X) is X


def test_sparse_data_are_checked_as_numbers():
    """A NaN in sparse data that a network would see is an error that names the member."""
    sparse = scipy.sparse.csr_array(X.copy())
    sparse.data[0] = np.nan
    with pytest.raises(ValueError, match="'mlp' \\(KerasRegressor\\) does not accept missing values"):
        KerasVotingRegressor([("mlp", KerasRegressor())]).fit(sparse, X[:, 0])
