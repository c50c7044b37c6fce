"""Polyak averaging: the variables of one network, averaged over the ends of the last epochs of one run."""

import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skensemble._base.checkpoint_average import (
    WEIGHTINGS,
    Average,
    average_states,
    check_average,
    choose_average,
    estimates_statistics,
    predict_stages,
    rows_for_statistics,
    stage_statistics,
)
from skensemble._base.combining import (
    CLASSIFIER_CONSTRAINTS,
    COMBINATION_CONSTRAINTS,
    COMBINING,
    calibrates,
    fit_temperature_of,
    remember_parameters,
    warn_if_changed,
)
from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.predictions import KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._base.reweight import copy_fitted, positions
from skensemble._base.single_run import fit_run, run_member
from skensemble._compat.scikeras import BaseWrapper, encode_features
from skensemble._compat.sklearn import HasMethods, Interval, StrOptions, fit_context
from skensemble._engine.prediction import predict_members
from skensemble._engine.records import Variables
from skensemble._engine.trajectory import EpochStates, Trajectory
from skensemble._engine.variables import read_state
from skensemble._from_models.models import labelled, read_models
from skensemble._from_models.reading import Reading
from skensemble._members.architecture import describe_architecture
from skensemble._members.fit_arguments import DEFAULT_BATCH_SIZE
from skensemble._members.inputs import TrainingData
from skensemble._members.rollback import unchanged_on_error
from skensemble._members.spec import unwrapped
from skensemble._numeric.combination import checkpoint_weights, first_weights, weighted_mean
from skensemble._numeric.host_rows import take_rows
from skensemble._numeric.uncertainty import deviation
from skensemble._typing import MatrixLike

# Checkpoints that `n_checkpoints="auto"` chooses from, at most.
_MOST_CHECKPOINTS = 20


class _BasePolyakWeight(BaseKerasEnsemble):
    _fitted_state = (
        "checkpoints_",
        "n_checkpoints_",
        "weights_",
        "_averaged",
        "_batch_size",
        "_checkpoints",
        "_combined_by",
        "_decay",
        "_statistics",
        "_weighting",
    )
    _parameter_constraints = {
        **BaseKerasEnsemble._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict"]), callable, None],
        "n_checkpoints": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "weights": ["array-like", StrOptions(set(WEIGHTINGS))],
        "decay": [Interval(numbers.Real, 0, None, closed="neither")],
        "update_batch_norm": ["boolean"],
        "validation_fraction": COMBINATION_CONSTRAINTS["validation_fraction"],
    }

    @property
    def estimator_(self) -> Any:
        """The averaged network, an ordinary fitted scikeras estimator."""
        return self._averaged[0]

    def predict_members(self, X: MatrixLike) -> np.ndarray:
        """What the network predicts with each of the averaged checkpoints.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_checkpoints, n_samples, n_classes) or (n_checkpoints, n_samples[, n_outputs])
            Newest first. Probabilities for classifiers, values for regressors.
        """
        checkpoints, _, X = self._counted(X)
        return predict_members(checkpoints, X, self._member_classes())

    def reweight(
        self,
        weights: str | ArrayLike | None = None,
        *,
        n_checkpoints: int | None = None,
        decay: float | None = None,
        X: MatrixLike | None = None,
    ) -> Self:
        """Average the checkpoints differently, without training.

        Parameters stay as they are: they determine the next `fit`, while predictions use what the last `fit` or
        `reweight` learned.

        Parameters
        ----------
        weights : {"uniform", "linear", "exponential"} or array-like of shape (n_checkpoints,), default=None
            How much each counts, newest first; None leaves it as it is.
        n_checkpoints : int, default=None
            Number of the newest checkpoints to average, at most as many as were kept; None leaves it as it is.
        decay : float, default=None
            Decay of exponential weights, in epochs; None leaves it as it is.
        X : array-like of shape (n_samples, n_features, ...), default=None
            The training rows. They are needed where the network has BatchNormalization and `update_batch_norm=True`.

        Returns
        -------
        object
            Itself. `estimator_`, `weights_` and `n_checkpoints_` have changed.
        """
        check_is_fitted(self)
        if hasattr(self, "temperature_"):
            raise ValueError(
                "A calibrated average cannot be changed: its temperature belongs to the average that it was fitted "
                "for. Fit with other `weights` and `n_checkpoints`, or with calibration=None."
            )
        given = {"weights": weights, "n_checkpoints": n_checkpoints, "decay": decay}
        given = {name: value for name, value in given.items() if value is not None}
        average = self._learned_average()._replace(**given)
        check_average(average, len(self._checkpoints))
        X = rows_for_statistics(self, average.n_checkpoints, X)
        with unchanged_on_error(self):
            self._learn_average(average, X)
            remember_parameters(self, given)
            return self

    def subset(self, members: ArrayLike, *, X: MatrixLike | None = None) -> Self:
        """The average of some of the checkpoints, without training.

        Parameters
        ----------
        members : array-like of int or bool
            Which of `checkpoints_`: positions, 0 being the newest, or a mask.
        X : array-like of shape (n_samples, n_features, ...), default=None
            The training rows, needed where `reweight` needs them.

        Returns
        -------
        object
            A new fitted ensemble that keeps and averages these checkpoints, newest first. Its weights follow the same
            rule, such as "linear", or are those given for these checkpoints. Its parameters are those of the whole
            ensemble, which its `fit` would train.
        """
        check_is_fitted(self)
        indices = sorted(positions(members, len(self._checkpoints)))
        part = copy_fitted(self)
        part._checkpoints = self._checkpoints.take(indices)
        part.checkpoints_ = part._checkpoints.members()
        weights = None
        if not isinstance(self._weighting, str):
            given = np.append(self.weights_, np.zeros(len(self._checkpoints) - self.n_checkpoints_))
            weights = first_weights(given[indices], len(indices))
        return part.reweight(weights, n_checkpoints=len(indices), X=X)

    @classmethod
    def _from_models(cls, models, reading, n_checkpoints, X, **averaging):
        trained = read_models(labelled(models), reading, apart=True)
        checkpoints = _as_states(trained.members)
        n_checkpoints = len(checkpoints) if n_checkpoints is None else n_checkpoints
        polyak = cls(clone(checkpoints.prototype), n_checkpoints=n_checkpoints, **averaging)
        polyak._check_parameters()
        average = Average(polyak.weights, n_checkpoints, polyak.decay)
        check_average(average, len(checkpoints))
        trained.describe_data_to(polyak)
        polyak._checkpoints, polyak.checkpoints_ = checkpoints, checkpoints.members()
        polyak._batch_size = DEFAULT_BATCH_SIZE
        polyak._learn_average(average, rows_for_statistics(polyak, n_checkpoints, X))
        remember_parameters(polyak, COMBINING)
        return polyak

    def _train(self, X, y, sample_weight, params, task):
        member, n_epochs = run_member(self, sample_weight, params)
        automatic = isinstance(self.n_checkpoints, str)
        n_kept = self._check_checkpoints(n_epochs, automatic)
        data = TrainingData(X, y, sample_weight)

        def learn(polyak, run, held_out):
            polyak._keep_run(run)
            X_trained = None
            if estimates_statistics(polyak):
                X_trained = encode_features(run.checkpoints.prototype, take_rows(X.floats, run.sample_indices))
            judged = None if held_out is None else data.take(held_out)
            average = Average(polyak.weights, len(polyak._checkpoints), polyak.decay)
            polyak._learn_average(choose_average(polyak, judged, X_trained) if automatic else average, X_trained)
            vars(polyak).pop("temperature_", None)
            if calibrates(polyak):
                (proba,) = predict_members(polyak._averaged, judged.X, polyak._member_classes())
                polyak.temperature_ = fit_temperature_of(polyak, proba, judged)
            remember_parameters(polyak, COMBINING)

        fit_run(self, member, Trajectory(n_kept), data, learn, task, holds_out=automatic or calibrates(self))
        return self

    def _check_checkpoints(self, n_epochs, automatic):
        """How many checkpoints a run of `n_epochs` keeps."""
        if automatic and not isinstance(self.weights, str):
            raise ValueError(
                f'`weights` must be a string where n_checkpoints="auto" chooses the weighting: got {self.weights!r}. '
                "Give `n_checkpoints` as a number to use weights of your own."
            )
        n_kept = max(1, min(n_epochs, _MOST_CHECKPOINTS)) if automatic else self.n_checkpoints
        if n_kept > n_epochs:
            raise ValueError(
                f"`n_checkpoints` must not be above the epochs of `estimator`, each of which ends with a checkpoint: "
                f"got n_checkpoints={n_kept} for epochs={n_epochs}. Train longer or average fewer."
            )
        if not automatic:
            check_average(Average(self.weights, n_kept, self.decay), n_kept)
        return n_kept

    def _keep_run(self, run):
        newest_first = range(len(run.checkpoints))[::-1]
        self._checkpoints, self._batch_size = run.checkpoints.take(newest_first), run.batch_size
        self.checkpoints_ = self._checkpoints.members()
        self.engine_, self.engine_reason_ = run.engine, run.reason

    def _learn_average(self, average, X):
        """Average the newest checkpoints; `X` holds the encoded rows of the statistics, where they are estimated."""
        weights = average.weights
        self._weighting = weights if isinstance(weights, str) else np.array(weights, dtype=np.float64)
        self._decay, self.n_checkpoints_ = average.decay, average.n_checkpoints
        self.weights_ = checkpoint_weights(*average)
        self._statistics = stage_statistics(self, average, X)
        newest = self._checkpoints
        # The variables of the optimizer are those of the newest checkpoint.
        optimizer = newest.variables.optimizer
        averaged = average_states(newest, average, [average.n_checkpoints], self._statistics, optimizer)
        self._averaged = averaged.members()

    def _learned_average(self):
        return Average(self._weighting, self.n_checkpoints_, self._decay)

    def _counted(self, X):
        """The checkpoints that are averaged, their weights, and `Inputs`."""
        check_is_fitted(self)
        used = self._checkpoints.take(range(self.n_checkpoints_))
        return used.members(), self.weights_, self._validate_X(X)

    def _predict_average(self, X):
        """What the averaged network predicts, with one member in front."""
        check_is_fitted(self)
        warn_if_changed(self)
        return predict_members(self._averaged, self._validate_X(X), self._member_classes())

    def _exported_members(self):
        return self._averaged, ["average"], np.ones(1)

    def _stages(self, X):
        check_is_fitted(self)
        warn_if_changed(self)
        stages = predict_stages(self, self._learned_average(), self._statistics, self._validate_X(X))
        for prediction in stages:
            yield prediction[np.newaxis], np.ones(1)


def _as_states(members):
    """Fitted networks of one architecture, oldest first, as the states of one run, newest first."""
    networks = [unwrapped(member.estimator) for member in members]
    for member, network in zip(members, networks, strict=True):
        if not isinstance(network, BaseWrapper):
            raise TypeError(f"Variables are averaged of networks: {member.label} is {type(network).__name__}.")
        if describe_architecture(network.model_) != describe_architecture(networks[0].model_):
            raise ValueError(
                "Variables are averaged of checkpoints of one architecture: that of "
                f"{member.label} differs from that of {members[0].label}. Average their predictions with "
                "KerasAveragingClassifier or KerasAveragingRegressor."
            )
    values = [read_state(network.model_)[:2] for network in networks]
    trainable, non_trainable = ([np.stack(v) for v in zip(*part, strict=True)] for part in zip(*values, strict=True))
    states = EpochStates(
        networks[-1],
        [0] * len(networks),
        Variables(trainable, non_trainable, []),
        [network.history_ for network in networks],
        list(range(len(networks))),
    )
    return states.take(range(len(networks))[::-1])


class PolyakWeightClassifier(KerasEnsembleClassifierMixin, _BasePolyakWeight):
    """Average the variables of one network over the ends of the last epochs of its training.

    Towards its end, training wanders around a minimum; the average of where it has been is closer to the middle than
    the last step [1]_ [2]_, and depends less on chance. It is one network: prediction costs what one network costs.

    Parameters
    ----------
    estimator : scikeras classifier, default=None
        The network, trained once. None means `KerasClassifier()`, a multilayer perceptron.
    n_checkpoints : int or "auto", default=10
        How many of the last epochs are averaged. "auto" chooses the number (up to 20) and the weighting that do best on
        held-out rows; the last epoch alone is a candidate, so the average is never worse there.
    weights : {"uniform", "linear", "exponential"} or array-like of shape (n_checkpoints,), default="uniform"
        How much each checkpoint counts, newest first. "linear" falls as n, n - 1, ..., 1, "exponential" as
        `exp(-i / decay)`. An array must not be negative; it is scaled to sum to 1. `n_checkpoints="auto"` chooses the
        weighting, too.
    decay : float, default=2.0
        Epochs over which an exponential weight falls to 1 / e; the larger, the more equal the weights.
    update_batch_norm : bool, default=True
        Whether the statistics of BatchNormalization are estimated again for the averaged variables, by one pass over
        the training rows. With False they are averaged like the other variables.
    validation_fraction : float, default=0.2
        Fraction of the rows that are held out for `n_checkpoints="auto"` and not trained on.
    engine : {"auto", "fused", "keras"}, default="auto"
        How the network is trained. "fused": the whole run as one program of TensorFlow or JAX, with the result that
        Keras gives, in a fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`.
        "auto": fused where possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, the averaged epochs included, so that after a crash or a kill the
        same call continues from there, to the same result bit for bit; a finished run is taken from it, even for other
        `weights`. Each fit needs its own directory: other data, parameters or versions are an error. To start again,
        delete it. None keeps nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting values, of dropout, of the order of rows, and of the rows that are held out.
    verbose : int, default=0
        Above 0, progress is printed.
    calibration : {"temperature"}, default=None
        Whether the combined probabilities are calibrated [3]_. "temperature": their logarithms (log-odds for several
        labels, each with its own temperature) are divided by a number that is fitted by the log-loss on rows that no
        member was trained on: `validation_fraction` of them. `predict` stays the same. None: not calibrated.

    Attributes
    ----------
    estimator_ : scikeras classifier
        The averaged network.
    checkpoints_ : sequence of scikeras classifiers
        The network as it was at the ends of the last epochs, newest first; the `history_` of each ends with its epoch.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    n_checkpoints_ : int
        How many of `checkpoints_` are averaged; fewer than asked for where a callback stopped the run early.
    weights_ : ndarray of shape (n_checkpoints_,)
        How much each counts, newest first; sums to 1.
    temperature_ : float or ndarray of shape (n_labels,)
        Temperature of the combined probabilities; only with `calibration`. Above 1 means that they were overconfident.
    engine_ : str
        The engine that trained the network: "fused" or "keras".
    engine_reason_ : str
        Why this engine was used.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    PolyakWeightRegressor : The same for regression.
    SnapshotEnsembleClassifier : The predictions, not the variables, of several networks from one run.

    Notes
    -----
    Checkpoints are in the same order everywhere, newest first. Without training, `reweight` averages them differently,
    and `subset` averages some of them. `staged_predict` and `staged_predict_proba` predict with the averages of the
    newest 1, 2, ... checkpoints. `predict_members` and `predict_uncertainty` treat the checkpoints as the members of an
    ensemble.

    Only floating-point variables have a mean: counters and seeds are taken from the newest checkpoint.

    Where a callback stops the run, the last epochs before the stop are averaged; where `EarlyStopping` restores the
    best variables, the last epochs up to the best one.

    An average over all steps, not over epochs, is kept by the optimizer itself: give `estimator` an optimizer such as
    `keras.optimizers.Adam(use_ema=True, ema_momentum=0.99)`. Each checkpoint then holds its moving averages, and
    `n_checkpoints=1` predicts with those of the last step. `keras.callbacks.SwapEMAWeights` is not needed.

    References
    ----------
    .. [1] Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
       Optimization 30 (1992).
    .. [2] Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider Optima and Better
       Generalization", UAI 2018.
    .. [3] Rahaman and Thiery, "Uncertainty Quantification and Deep Ensembles", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier, PolyakWeightClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> member = KerasClassifier(hidden_layer_sizes=(10,), epochs=5)
    >>> ensemble = PolyakWeightClassifier(member, n_checkpoints=3, random_state=0).fit(X, y)
    >>> ensemble.predict_proba(X[:4]).shape
    (4, 3)
    >>> ensemble.reweight(weights="linear").weights_  # 3/6, 2/6, 1/6
    array([0.5       , 0.33333333, 0.16666667])
    """

    _parameter_constraints = {
        **_BasePolyakWeight._parameter_constraints,
        "calibration": CLASSIFIER_CONSTRAINTS["calibration"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_checkpoints=10,
        weights="uniform",
        decay=2.0,
        update_batch_norm=True,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        random_state=None,
        verbose=0,
        calibration=None,
    ):
        self.estimator = estimator
        self.n_checkpoints = n_checkpoints
        self.weights = weights
        self.decay = decay
        self.update_batch_norm = update_batch_norm
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose
        self.calibration = calibration

    @classmethod
    def from_models(
        cls,
        models: Iterable[keras.Model | str | os.PathLike | Any],
        *,
        classes: ArrayLike | None = None,
        n_checkpoints: int | None = None,
        weights: str | ArrayLike = "uniform",
        decay: float = 2.0,
        update_batch_norm: bool = True,
        X: MatrixLike | None = None,
        build: Callable[[], keras.Model] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        trusted: Sequence[str] | None = None,
        row_shape: Sequence[int] | None = None,
    ) -> Self:
        """The average of checkpoints that a training has saved, without further training.

        Checkpoints are loaded without what they were compiled with, Keras files in Keras' safe mode, which runs no code
        from the file.

        Parameters
        ----------
        models : iterable of Keras model, path or fitted estimator
            Checkpoints of one architecture in the order of training, newest last, in any mixture: Keras models; files
            that end in ".keras"; files of `Model.save_weights`, ending in ".weights.h5", with `build`; files of
            `skensemble.io`; fitted networks.
        classes : array-like of shape (n_classes,), default=None
            Labels in the order of the outputs of Keras models and files. None takes the labels of fitted members; where
            there are none, networks are taken to predict several labels per row, one for each output.
        n_checkpoints : int, default=None
            How many of the newest are averaged; None means all.
        weights, decay, update_batch_norm
            As the parameters of the ensemble; weights are given newest first.
        X : array-like of shape (n_samples, n_features, ...), default=None
            The training rows, needed where the network has BatchNormalization and `update_batch_norm=True`.
        build : callable, default=None
            Function without arguments that returns the Keras model for the variables in files of `Model.save_weights`.
        custom_objects : dict of str to object, default=None
            Layers and functions of your own in the files, by their names.
        trusted : list of str, default=None
            Names that files of `skensemble.io` may import, see `skensemble.io.load`.
        row_shape : tuple of int, default=None
            Shape of a row of X, needed where the network does not fix it.

        Returns
        -------
        PolyakWeightClassifier
            Fitted; `reweight` averages the checkpoints differently. Its `fit` needs the function that built the
            network.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            Where a checkpoint cannot be read, or does not match the others; the message names it.
        """
        reading = Reading(True, classes, build, custom_objects, trusted, row_shape)
        averaging = {"weights": weights, "decay": decay, "update_batch_norm": update_batch_norm}
        return cls._from_models(models, reading, n_checkpoints, X, **averaging)

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the network once and average its checkpoints.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind that scikit-learn takes, or an indicator matrix of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss; rows of weight 0 are left out.
        **params : dict
            Further metadata, with `sklearn.set_config(enable_metadata_routing=True)`. Networks take only
            `sample_weight`; anything else is an error.

        Returns
        -------
        PolyakWeightClassifier
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where the network cannot be trained in the fused program.
        TypeError
            Where `estimator` is not a network to train.
        ValueError
            Where parameters contradict each other or the data, before anything is trained.

        Warns
        -----
        ConvergenceWarning
            Where the loss is not finite.
        DataConversionWarning
            Where y is a column, or looks like classes in one-hot form.
        RuntimeWarning
            Where a file in `checkpoint_dir` cannot be used; what it held is trained again.
        """
        return self._fit_checked(X, y, sample_weight, params)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Label of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The class to which the averaged network gives the largest probability.
        """
        return self._choose(self._predict_average(X), np.ones(1))

    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Probability of each class, from the averaged network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; with several labels per row, the probability of each label.
        """
        average = self._predict_average(X)[0]
        return self._calibrate(average).astype(average.dtype)


class PolyakWeightRegressor(KerasEnsembleRegressorMixin, _BasePolyakWeight):
    """Average the variables of one network over the ends of the last epochs of its training.

    See `PolyakWeightClassifier`.

    Parameters
    ----------
    estimator : scikeras regressor, default=None
        The network, trained once. None means `KerasRegressor()`, a multilayer perceptron.
    n_checkpoints : int or "auto", default=10
        How many of the last epochs are averaged. "auto" chooses the number (up to 20) and the weighting that do best on
        held-out rows; the last epoch alone is a candidate, so the average is never worse there.
    weights : {"uniform", "linear", "exponential"} or array-like of shape (n_checkpoints,), default="uniform"
        How much each checkpoint counts, newest first. "linear" falls as n, n - 1, ..., 1, "exponential" as
        `exp(-i / decay)`. An array must not be negative; it is scaled to sum to 1. `n_checkpoints="auto"` chooses the
        weighting, too.
    decay : float, default=2.0
        Epochs over which an exponential weight falls to 1 / e; the larger, the more equal the weights.
    update_batch_norm : bool, default=True
        Whether the statistics of BatchNormalization are estimated again for the averaged variables, by one pass over
        the training rows. With False they are averaged like the other variables.
    validation_fraction : float, default=0.2
        Fraction of the rows that are held out for `n_checkpoints="auto"` and not trained on.
    engine : {"auto", "fused", "keras"}, default="auto"
        How the network is trained. "fused": the whole run as one program of TensorFlow or JAX, with the result that
        Keras gives, in a fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`.
        "auto": fused where possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, the averaged epochs included, so that after a crash or a kill the
        same call continues from there, to the same result bit for bit; a finished run is taken from it, even for other
        `weights`. Each fit needs its own directory: other data, parameters or versions are an error. To start again,
        delete it. None keeps nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting values, of dropout, of the order of rows, and of the rows that are held out.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimator_ : scikeras regressor
        The averaged network.
    checkpoints_ : sequence of scikeras regressors
        The network as it was at the ends of the last epochs, newest first; the `history_` of each ends with its epoch.
    n_checkpoints_ : int
        How many of `checkpoints_` are averaged; fewer than asked for where a callback stopped the run early.
    weights_ : ndarray of shape (n_checkpoints_,)
        How much each counts, newest first; sums to 1.
    engine_ : str
        The engine that trained the network: "fused" or "keras".
    engine_reason_ : str
        Why this engine was used.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    PolyakWeightClassifier : The same for classification, with notes that hold here too.
    SnapshotEnsembleRegressor : The predictions, not the variables, of several networks from one run.

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skensemble import KerasRegressor, PolyakWeightRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> member = KerasRegressor(hidden_layer_sizes=(10,), epochs=5)
    >>> ensemble = PolyakWeightRegressor(member, n_checkpoints=3, random_state=0).fit(X, y)
    >>> len(list(ensemble.staged_predict(X[:4])))
    3
    """

    def __init__(
        self,
        estimator=None,
        *,
        n_checkpoints=10,
        weights="uniform",
        decay=2.0,
        update_batch_norm=True,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_checkpoints = n_checkpoints
        self.weights = weights
        self.decay = decay
        self.update_batch_norm = update_batch_norm
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_models(
        cls,
        models: Iterable[keras.Model | str | os.PathLike | Any],
        *,
        n_checkpoints: int | None = None,
        weights: str | ArrayLike = "uniform",
        decay: float = 2.0,
        update_batch_norm: bool = True,
        X: MatrixLike | None = None,
        build: Callable[[], keras.Model] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        trusted: Sequence[str] | None = None,
        row_shape: Sequence[int] | None = None,
    ) -> Self:
        """The average of checkpoints that a training has saved, without further training.

        Checkpoints are loaded without what they were compiled with, Keras files in Keras' safe mode, which runs no code
        from the file.

        Parameters
        ----------
        models : iterable of Keras model, path or fitted estimator
            Checkpoints of one architecture in the order of training, newest last, in any mixture: Keras models; files
            that end in ".keras"; files of `Model.save_weights`, ending in ".weights.h5", with `build`; files of
            `skensemble.io`; fitted networks.
        n_checkpoints : int, default=None
            How many of the newest are averaged; None means all.
        weights, decay, update_batch_norm
            As the parameters of the ensemble; weights are given newest first.
        X : array-like of shape (n_samples, n_features, ...), default=None
            The training rows, needed where the network has BatchNormalization and `update_batch_norm=True`.
        build : callable, default=None
            Function without arguments that returns the Keras model for the variables in files of `Model.save_weights`.
        custom_objects : dict of str to object, default=None
            Layers and functions of your own in the files, by their names.
        trusted : list of str, default=None
            Names that files of `skensemble.io` may import, see `skensemble.io.load`.
        row_shape : tuple of int, default=None
            Shape of a row of X, needed where the network does not fix it.

        Returns
        -------
        PolyakWeightRegressor
            Fitted; `reweight` averages the checkpoints differently. Its `fit` needs the function that built the
            network.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            Where a checkpoint cannot be read, or does not match the others; the message names it.
        """
        reading = Reading(False, None, build, custom_objects, trusted, row_shape)
        averaging = {"weights": weights, "decay": decay, "update_batch_norm": update_batch_norm}
        return cls._from_models(models, reading, n_checkpoints, X, **averaging)

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the network once and average its checkpoints.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss; rows of weight 0 are left out.
        **params : dict
            Further metadata, with `sklearn.set_config(enable_metadata_routing=True)`. Networks take only
            `sample_weight`; anything else is an error.

        Returns
        -------
        PolyakWeightRegressor
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where the network cannot be trained in the fused program.
        TypeError
            Where `estimator` is not a network to train.
        ValueError
            Where parameters contradict each other or the data, before anything is trained.

        Warns
        -----
        ConvergenceWarning
            Where the loss is not finite.
        DataConversionWarning
            Where y is a column.
        RuntimeWarning
            Where a file in `checkpoint_dir` cannot be used; what it held is trained again.
        """
        return self._fit_checked(X, y, sample_weight, params)

    def predict(self, X: MatrixLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Values from the averaged network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        return_std : bool, default=False
            Whether to return the spread of the checkpoints as well.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the same shape
            Only with `return_std=True`, in the units of y. With a `distribution`: standard deviation of the mixture of
            the checkpoints, which is that of y. Without: weighted standard deviation over the predictions of the
            checkpoints, which shows how much the network still moved, not the noise of y.
        """
        values = weighted_mean(self._predict_average(X), np.ones(1))
        return (values, deviation(*self._counted_distributions(X))) if return_std else values
