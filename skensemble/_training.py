"""Training of members: which engine and why, rows and weights of each, spread over joblib workers, with progress."""

import dataclasses
import math
import warnings
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight

from skensemble._callbacks import MemberCallbacks, why_not_per_epoch
from skensemble._compat import (
    BaseWrapper,
    encode_features,
    encode_target,
    extra_fit_callback,
    fit_arguments,
    fit_callbacks,
    fit_initialized,
    fit_override,
    history_of,
    initialize,
    rebuild_model,
    replace_model,
    seeded,
    without_own_seed,
)
from skensemble._initial_values import initialize_members
from skensemble._members import FittedMembers, Trained, is_frozen
from skensemble._program import NotFusable, get_program, load_data, read_state, why_not_fusable, write_state
from skensemble._trajectory import Checkpoints, KerasRecorder, Recorder

# Row orders that are drawn at once take at most so many bytes.
_ORDER_BYTES = 32 * 2**20
DEFAULT_BATCH_SIZE = 32  # of `Model.fit`
# Arguments of `Model.fit` that the fused program repeats; any other one needs Keras' own fit.
_FUSED_ARGUMENTS = {
    "batch_size",
    "epochs",
    "initial_epoch",
    "shuffle",
    "validation_batch_size",
    "validation_data",
    "validation_freq",
    "validation_split",
    "verbose",
}


class TrainedMembers(NamedTuple):
    """Result of `fit_members`.

    Attributes
    ----------
    estimators : FittedMembers
        In the order of the members.
    engine : str
        "fused", "keras", "fused and keras", or "none" where no network was trained.
    reason : str
        Why this engine.
    """

    estimators: FittedMembers
    engine: str
    reason: str


def fit_members(members, X, y, sample_weight=None, *, engine="auto", n_jobs=None, verbose=0):
    """Train every member that is not frozen.

    Parameters
    ----------
    members : list of Member
    X : ndarray of shape (n_samples, ...)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The user's labels or targets.
    sample_weight : ndarray of shape (n_samples,), default=None
    engine : {"auto", "fused", "keras"}, default="auto"
        "auto" falls back to "keras" where the fused program cannot give Keras' result; "fused" raises then.
    n_jobs : int, default=None
        Number of joblib workers.
    verbose : int, default=0
        Above 0, progress is printed.

    Returns
    -------
    TrainedMembers

    Raises
    ------
    NotFusable
        With `engine="fused"`: the reason in words.
    """
    entries = [member.estimator if is_frozen(member.estimator) else None for member in members]
    reports = []
    for indices in _families(members):
        parts = np.array_split(indices, min(len(indices), effective_n_jobs(n_jobs)))
        results = Parallel(n_jobs=n_jobs)(
            delayed(_fit_copies)([members[i] for i in part], X, y, sample_weight, engine, verbose, part[0])
            for part in parts
        )
        fitted = [entry for result in results for entry in result[0]]
        for i, entry in zip(indices, fitted, strict=True):
            entries[i] = entry
        if results[0][1] is not None:
            reports.append(results[0][1:])
    trained = FittedMembers(entries)
    _warn_of_divergence(trained)
    engines = list(dict.fromkeys(engine for engine, _ in reports)) or ["none"]
    reasons = list(dict.fromkeys(reason for _, reason in reports)) or ["no network was trained"]
    return TrainedMembers(trained, " and ".join(sorted(engines)), "; ".join(reasons))


class TrainedRun(NamedTuple):
    """Result of `fit_trajectory`.

    Attributes
    ----------
    checkpoints : Checkpoints
        The states that were kept, oldest first; None where the run stopped before there was one.
    n_epochs : int
        Epochs that were trained.
    rates : ndarray of shape (n_epochs, n_steps) or None
        The learning rate of each step, where the trajectory set it.
    rows : ndarray of int
        Rows that were trained on.
    batch_size : int
    engine, reason : str
        As in `TrainedMembers`.
    """

    checkpoints: Checkpoints | None
    n_epochs: int
    rates: np.ndarray | None
    rows: np.ndarray
    batch_size: int
    engine: str
    reason: str


def fit_trajectory(member, trajectory, X, y, sample_weight=None, *, engine="auto", verbose=0):
    """Train one member and keep states of it on the way.

    Parameters
    ----------
    member : Member
        Not frozen.
    trajectory : Trajectory
    X, y, sample_weight, engine, verbose
        As in `fit_members`.

    Returns
    -------
    TrainedRun
    """
    recorder = Recorder(trajectory)
    entries, engine, reason = _fit_copies([member], X, y, sample_weight, engine, verbose, 0, recorder)
    _warn_of_divergence(FittedMembers(entries))
    if isinstance(entries[0], tuple):
        trained, k = entries[0]
        template, history = trained.template, trained.histories[k]
    else:
        template, history = entries[0], entries[0].history_
    n_epochs = len(history["loss"])
    return TrainedRun(
        recorder.checkpoints(template, member.seed, history),
        n_epochs,
        recorder.epoch_rates(0, n_epochs),
        recorder.rows,
        recorder.batch_size,
        engine,
        reason,
    )


def _families(members):
    """Indices of the members to train, those whose estimators differ in the seed at most together."""
    families = []
    for i, member in enumerate(members):
        if is_frozen(member.estimator):
            continue
        for family in families:
            if _is_same(members[family[0]].estimator, member.estimator):
                family.append(i)
                break
        else:
            families.append([i])
    return families


def _is_same(estimator, other):
    if estimator is other:
        return True
    if type(estimator) is not type(other) or not isinstance(estimator, BaseWrapper):
        return False
    try:
        return bool(estimator.get_params() | {"random_state": None} == other.get_params() | {"random_state": None})
    except ValueError:  # arrays among the parameters have no single truth
        return False


def _fit_copies(copies, X, y, sample_weight, engine, verbose, first, recorder=None):
    """Fit members that have the same estimator; entries for `FittedMembers`, the engine, and the reason for it.

    A `recorder` follows the run of a single one.
    """
    if not isinstance(copies[0].estimator, BaseWrapper):
        return [_fit_other(copy, X, y, sample_weight) for copy in copies], None, None
    reason = "Keras' own fit, as asked"
    if engine != "keras":
        try:
            entries = _fit_fused(copies, X, y, sample_weight, verbose, recorder)
            reason = "members of one architecture share one program" if recorder is None else "the run is one program"
            return entries, "fused", reason
        except NotFusable as error:
            if engine == "fused":
                raise NotFusable(f"engine='fused' is not possible: {error}. Use engine='auto' or 'keras'.") from error
            reason = f"Keras' own fit, because {error}"
    entries = []
    for i, copy in enumerate(copies, start=first + 1):
        entries.append(_fit_with_keras(copy, X, y, sample_weight, recorder))
        if verbose:
            _print_progress(f"member {i}", entries[-1].history_)
    return entries, "keras", reason


def _fit_with_keras(copy, X, y, sample_weight, recorder=None):
    member = _clone(copy)
    with seeded(copy.seed), without_own_seed(member):
        if copy.rows is None and copy.validation_rows is None and recorder is None:
            # A copy each: scikeras 0.13 multiplies class weights into the array it is given.
            return member.fit(X, y, sample_weight=None if sample_weight is None else sample_weight.copy())
        initialize(member, X, y)  # on all rows, so that the member knows classes which its own rows lack
        rows = np.arange(len(X)) if copy.rows is None else copy.rows
        weights = _row_weights(member, y, sample_weight, copy.rows)
        held_out = {}
        if copy.validation_rows is not None:
            v = copy.validation_rows
            held_out["validation_data"] = (
                encode_features(member, X[v]),
                encode_target(member, y[v]),
                *([] if weights is None else [weights[v]]),
            )
        arguments = (member, X[rows], y[rows], None if weights is None else weights[rows])
        if recorder is None:
            return fit_initialized(*arguments, **held_out)
        callbacks = fit_callbacks(member)
        trained_rows, _ = _rows_of(member, copy, X, y, sample_weight)
        recorder.start(member.model_, callbacks, trained_rows, _train_batch_size(member, len(trained_rows)))
        with extra_fit_callback(member, KerasRecorder(recorder, callbacks)):
            return fit_initialized(*arguments, **held_out)


def _fit_other(copy, X, y, sample_weight):
    """Fit a scikit-learn estimator that is no network; it takes the seed where it has none of its own."""
    member = clone(copy.estimator)
    seeds = {name: copy.seed for name, value in member.get_params().items() if _is_open_seed(name, value)}
    rows = slice(None) if copy.rows is None else copy.rows
    weights = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
    return member.set_params(**seeds).fit(X[rows], y[rows], **weights)


def _is_open_seed(name, value):
    return value is None and (name == "random_state" or name.endswith("__random_state"))


def _clone(copy):
    return clone(copy.estimator).set_params(random_state=copy.seed)


def _print_progress(what, history):
    print(f"{what}: {', '.join(f'{name} {values[-1]:.4f}' for name, values in history.items())}", flush=True)


def _warn_of_divergence(members):
    diverged = [i for i, loss in enumerate(members.final_losses()) if not math.isfinite(loss)]
    if diverged:
        warnings.warn(
            f"The loss of members {diverged} is not finite: they diverged, and their predictions are not usable. "
            "Lower the learning rate, scale the features, or clip the gradients.",
            RuntimeWarning,
            stacklevel=4,
        )


# The fused engine


def _fit_fused(copies, X, y, sample_weight, verbose, recorder=None):
    """Entries for `FittedMembers` of copies that are trained by one program."""
    template = _clone(copies[0])
    _check_fusable_estimator(template)
    try:
        states = initialize_members(template, [copy.seed for copy in copies], X, y)
    except ValueError as error:
        if "another architecture" not in str(error):
            raise
        raise NotFusable(str(error)) from error
    reason = why_not_fusable(template.model_) or why_not_per_epoch(fit_callbacks(template))
    if reason is not None:
        raise NotFusable(reason)
    run = _run_watched if fit_callbacks(template) else _run_unwatched
    entries = [None] * len(copies)
    for group in _groups_of_equal_length(template, copies, X, y, sample_weight):
        fit = _Fit(template, [copies[i] for i in group], X, y, sample_weight, recorder)
        program = get_program(template.model_, len(group))
        fitted = run(fit, program, program.stack([states[i] for i in group]), verbose)
        for i, entry in zip(group, fitted, strict=True):
            entries[i] = entry
    return entries


def _groups_of_equal_length(template, copies, X, y, sample_weight):
    """Indices of the copies that have as many rows to train and to validate on: steps are taken in common."""
    groups = {}
    for i, copy in enumerate(copies):
        rows, held_out = _rows_of(template, copy, X, y, sample_weight)
        groups.setdefault((len(rows), None if held_out is None else len(held_out)), []).append(i)
    return groups.values()


def _rows_of(template, copy, X, y, sample_weight):
    """Rows that a member trains on and rows that it validates on (None without)."""
    rows = np.arange(len(X)) if copy.rows is None else np.asarray(copy.rows)
    weights = _row_weights(template, y, sample_weight, copy.rows)
    if weights is not None:
        rows = rows[weights[rows] != 0]
    if copy.validation_rows is not None:
        return rows, np.asarray(copy.validation_rows)
    return _split(rows, fit_arguments(template))


def _check_fusable_estimator(estimator):
    override = fit_override(estimator)
    if override is not None:
        raise NotFusable(f"{override} trains in a way of its own")
    arguments = fit_arguments(estimator)
    unknown = sorted(name for name in arguments.keys() - _FUSED_ARGUMENTS if arguments[name] is not None)
    if unknown:
        raise NotFusable(f"the argument {unknown[0]!r} of Model.fit is not known to the fused program")
    if arguments.get("initial_epoch"):
        raise NotFusable("the fused program starts at epoch 0, not at a later `initial_epoch`")
    if arguments.get("shuffle") not in (None, True, False):
        raise NotFusable(f"rows are shuffled all together or not at all: got shuffle={arguments['shuffle']!r}")


class _Fit:
    """What the members of a group train on: encoded data, rows, validation rows, batches and epochs."""

    def __init__(self, template, copies, X, y, sample_weight, recorder=None):
        arguments = fit_arguments(template)
        self.template, self.seeds = template, [copy.seed for copy in copies]
        self.epochs = arguments["epochs"]
        self.shuffle = arguments.get("shuffle", True)
        rows, held_out = zip(*[_rows_of(template, copy, X, y, sample_weight) for copy in copies], strict=True)
        self.rows = np.stack(rows).astype("int32")
        self.batch_size = _train_batch_size(template, self.rows.shape[1])
        self.n_steps = -(-self.rows.shape[1] // self.batch_size)
        weights = _weights_of(template, copies, y, sample_weight)
        self.data = load_data(encode_features(template, X), encode_target(template, y), weights)
        self.validation = self._validation(arguments, held_out)
        self.evaluates = _evaluated_epochs(arguments.get("validation_freq", 1))
        self._generators = [np.random.default_rng(seed) for seed in self.seeds]
        self.recorder = recorder
        if recorder is not None:
            recorder.start(template.model_, fit_callbacks(template), rows[0], self.batch_size)

    def _validation(self, arguments, held_out):
        data = self.data
        if held_out[0] is None:
            if arguments.get("validation_data") is None:
                return None
            data = load_data(*arguments["validation_data"])
            held_out = [np.arange(len(data.X))] * len(self.seeds)
        n_rows = self.rows.shape[1]
        return (*data, np.stack(held_out), _batch_size(arguments.get("validation_batch_size"), n_rows, self.batch_size))

    def orders(self, n_epochs):
        """Rows in the order in which each member visits them in the next epochs, (n_epochs, n_members, n_rows)."""
        order = np.broadcast_to(self.rows, (n_epochs, *self.rows.shape))
        if not self.shuffle:
            return order
        return np.stack([g.permuted(order[:, k], axis=1) for k, g in enumerate(self._generators)], axis=1)

    def run(self, program, state, first_epoch, n_epochs, *, stop_on_nan=False):
        """Train for the next epochs; returns the state and logs of arrays of shape (n_epochs, n_members)."""
        evaluates = self.validation is not None and self.evaluates(first_epoch)
        return program.run(
            state,
            self.data,
            self.orders(n_epochs),
            batch_size=self.batch_size,
            learning_rates=None if self.recorder is None else self.recorder.epoch_rates(first_epoch, n_epochs),
            validation=self.validation if evaluates else None,
            stop_on_nan=stop_on_nan,
            expected_steps=self.epochs * self.n_steps,
        )

    def record(self, epoch, program, state, callbacks=()):
        """Let the recorder keep the state at the end of an epoch, as Keras would leave it if it were the last."""
        if self.recorder is not None and self.recorder.wants(epoch):
            self.recorder.record(epoch, program.unstack(program.finalize(state), 0), callbacks)

    def segments(self):
        """(first epoch, number of epochs) of the runs in which Python need not look, in order."""
        longest = max(1, _ORDER_BYTES // max(1, self.rows.nbytes))
        cuts = [] if self.recorder is None else [end + 1 for end in self.recorder.last_ends(self.epochs)]
        start = 0
        while start < self.epochs:
            stop = min([self.epochs, start + longest, *(cut for cut in cuts if cut > start)])
            if self.validation is not None:
                evaluates = self.evaluates(start)
                stop = next((e for e in range(start + 1, stop) if self.evaluates(e) != evaluates), stop)
            yield start, stop - start
            start = stop


def _row_weights(estimator, y, sample_weight, rows=None):
    """Weight of each row of y in the loss: that of the sample times that of its class; None where all are 1.

    "balanced" counts the classes in `rows`.
    """
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is None:
        return sample_weight
    indices = rows if class_weight == "balanced" else None
    weights = compute_sample_weight(class_weight, y, indices=indices)
    return weights if sample_weight is None else weights * sample_weight


def _weights_of(template, copies, y, sample_weight):
    """Weights of the rows, (n_samples,) where all copies have the same, else (n_copies, n_samples); None without."""
    if getattr(template, "class_weight", None) is None or all(copy.rows is None for copy in copies):
        return _row_weights(template, y, sample_weight)
    return np.stack([_row_weights(template, y, sample_weight, copy.rows) for copy in copies])


def _split(rows, arguments):
    """Rows to train on and rows to validate on (None without), as Keras splits arrays: the last ones are held out."""
    fraction = arguments.get("validation_split") or 0
    if not fraction or arguments.get("validation_data") is not None:
        return rows, None
    split_at = math.floor(len(rows) * (1 - fraction))
    if split_at in (0, len(rows)):
        raise ValueError(
            f"`validation_split` must leave rows to train and to validate on: got {fraction} for {len(rows)} rows."
        )
    return rows[:split_at], rows[split_at:]


def _train_batch_size(estimator, n_rows):
    return _batch_size(fit_arguments(estimator).get("batch_size"), n_rows, DEFAULT_BATCH_SIZE)


def _batch_size(batch_size, n_rows, default):
    if batch_size is None:
        return default
    return n_rows if batch_size == -1 else batch_size


def _evaluated_epochs(frequency):
    """Whether Keras validates at the end of an epoch, counted from 0, as a function of it."""
    if isinstance(frequency, int):
        return lambda epoch: (epoch + 1) % frequency == 0
    return lambda epoch: epoch + 1 in frequency


def _run_unwatched(fit, program, state, verbose):
    """Train to the last epoch without looking."""
    histories = [{} for _ in fit.seeds]
    for start, n_epochs in fit.segments():
        state, logs = fit.run(program, state, start, n_epochs)
        fit.record(start + n_epochs - 1, program, state)
        _append_logs(histories, logs)
        if verbose:
            means = {name: values.mean(axis=1) for name, values in logs.items()}
            _print_progress(f"{len(fit.seeds)} members, epoch {start + n_epochs} of {fit.epochs}, mean", means)
    state = program.finalize(state)
    arrays = tuple([np.asarray(v) for v in part] for part in (state.trainable, state.non_trainable, state.optimizer))
    trained = Trained(fit.template, fit.seeds, arrays, [history_of(history) for history in histories])
    return [(trained, k) for k in range(len(fit.seeds))]


def _append_logs(histories, logs):
    for name, values in logs.items():
        for history, column in zip(histories, values.T, strict=True):
            history.setdefault(name, []).extend(column.tolist())


def _run_watched(fit, program, state, verbose):
    """Train epoch by epoch and call each member's Keras callbacks in between."""
    members = [_build(fit.template, seed) for seed in fit.seeds]
    models = [member.model_ for member in members]
    for model in models:
        _build_metrics(model, fit.data)
    watchers = [MemberCallbacks(fit_callbacks(m), m.model_, fit.epochs, fit.n_steps) for m in members]
    for k, watcher in enumerate(watchers):
        write_state(models[k], program.unstack(state, k))
        watcher.begin()
    running = list(range(len(members)))
    for epoch in range(fit.epochs):
        for k in running:
            watchers[k].begin_epoch(epoch)
        state = _read_models(program, state, models, running, watchers[0].reads_variables)
        state, logs = fit.run(program, state, epoch, 1, stop_on_nan=watchers[0].stops_on_nan)
        for k in running:
            models[k].stop_training |= not state.active[k]
            if watchers[k].reads_variables:
                write_state(models[k], program.unstack(state, k))
            watchers[k].end_epoch(epoch, {name: float(values[0, k]) for name, values in logs.items()})
        fit.record(epoch, program, state, watchers[0].callbacks)
        if verbose:
            means = {name: values[:, running].mean(axis=1) for name, values in logs.items()}
            _print_progress(f"{len(running)} of {len(members)} members, epoch {epoch + 1} of {fit.epochs}, mean", means)
        for k in [k for k in running if watchers[k].stopped or epoch + 1 == fit.epochs]:
            _end_member(members[k], watchers[k], program.unstack(state, k))
            running.remove(k)
        if not running:
            break
    return members


def _build(template, seed):
    member = clone(template).set_params(random_state=seed)
    return replace_model(template, member, rebuild_model(template, seed), history_of({}))


def _build_metrics(model, data):
    """Let Keras choose the metrics by one row: callbacks ask them whether more is better."""
    x, y = np.asarray(data.X[:1]), np.asarray(data.y[:1])
    model.compute_metrics(x, y, model(x))
    model.reset_metrics()


def _read_models(program, state, models, running, everything):
    """The state after what callbacks changed in the models: the learning rates, or everything."""
    if everything:
        values = [read_state(m) if k in running else program.unstack(state, k) for k, m in enumerate(models)]
        return dataclasses.replace(program.stack(values), active=state.active)
    return program.set_learning_rates(state, [model.optimizer.learning_rate for model in models])


def _end_member(member, watcher, values):
    """Leave a member as Keras leaves a model at the end of `fit`."""
    model = member.model_
    if not watcher.reads_variables:
        rate = np.asarray(model.optimizer.learning_rate)
        write_state(model, values)
        if rate != np.asarray(model.optimizer.learning_rate):
            model.optimizer.learning_rate = rate
    model.optimizer.finalize_variable_values(model.trainable_weights)
    watcher.end()
    member.history_ = history_of(model.history.history)
