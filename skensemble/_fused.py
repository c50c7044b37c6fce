"""The fused engine: members of one architecture through one program, with their own rows, histories and callbacks."""

import dataclasses
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, clone

from skensemble._callbacks import MemberCallbacks, why_not_per_epoch
from skensemble._compat import (
    encode_features,
    encode_target,
    fit_arguments,
    fit_callbacks,
    fit_override,
    has_own_encoders,
    history_of,
    rebuild_model,
    replace_model,
)
from skensemble._initial_values import initialize_members
from skensemble._members import Member, Trained
from skensemble._program import (
    NotFusable,
    State,
    get_program,
    load_data,
    may_differ_in_rows,
    read_state,
    signature,
    why_not_fusable,
    write_state,
)
from skensemble._rows import evaluated_epochs, given_batch_size, rows_of, train_batch_size, weights_of

# Row orders that are drawn at once take at most so many bytes.
_ORDER_BYTES = 32 * 2**20
# Lines of progress, about, of a training that nothing else interrupts.
_REPORTS = 10
# With a checkpoint, Python looks at least so often (seconds), but for epochs that take longer.
_LOOK_SECONDS = 0.5
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


def clone_member(copy):
    return clone(copy.estimator).set_params(random_state=copy.seed)


def print_progress(what, history):
    print(f"{what}: {', '.join(f'{name} {values[-1]:.4f}' for name, values in history.items())}", flush=True)


class Candidate(NamedTuple):
    """A member ready for the fused engine.

    Attributes
    ----------
    template : scikeras estimator
        Initialized; one for all copies of an estimator.
    copy : Member
    state : (trainable, non_trainable, optimizer)
        Its starting values, as of `read_state`.
    """

    template: BaseEstimator
    copy: Member
    state: tuple


def prepare_copies(copies, X, y):
    """Candidates for members that have the same estimator.

    Raises
    ------
    NotFusable
        With the reason in words.
    """
    template = clone_member(copies[0])
    _check_fusable_estimator(template)
    states = initialize_members(template, [copy.seed for copy in copies], X, y)
    reason = why_not_fusable(template.model_) or why_not_per_epoch(fit_callbacks(template))
    if reason is not None:
        raise NotFusable(reason)
    return [Candidate(template, copy, state) for copy, state in zip(copies, states, strict=True)]


def group_by_program(candidates, X, y, sample_weight):
    """Indices of the candidates whose steps can be taken in common, in groups."""
    groups, n_rows = {}, {}
    for i, candidate in enumerate(candidates):
        key, n_rows[i] = _program_key(candidate, X, y, sample_weight)
        groups.setdefault(key, []).append(i)
    for group in groups.values():
        if _may_differ_in_rows(candidates[group[0]].template, [n_rows[i] for i in group], X):
            yield sorted(group, key=n_rows.get, reverse=True)  # one program for the same numbers in another order
            continue
        for n in dict.fromkeys(n_rows[i] for i in group):
            yield [i for i in group if n_rows[i] == n]


def _may_differ_in_rows(template, n_rows, X):
    """Whether members like a template, with so many rows each, are to be trained together."""
    arguments = fit_arguments(template)
    if _is_alone(template) or -1 in (arguments.get("batch_size"), arguments.get("validation_batch_size")):
        return False
    return may_differ_in_rows(template.model_, n_rows, train_batch_size(template, max(n_rows)), X)


def _program_key(candidate, X, y, sample_weight):
    """What members that are trained together have in common: architecture, batches, epochs; and the number of rows."""
    template = candidate.template
    arguments = fit_arguments(template)
    rows, held_out = rows_of(template, candidate.copy, X, y, sample_weight)
    return (
        signature(template.model_),
        encode_target(template, y[:1]).shape,
        *(repr(arguments.get(name)) for name in sorted(_FUSED_ARGUMENTS - {"verbose", "validation_data"})),
        None if held_out is None else len(held_out),
        id(template) if _is_alone(template) else None,
    ), len(rows)


def _is_alone(template):
    """Whether copies of a template are trained with no others, and all on as many rows."""
    given = fit_arguments(template).get("validation_data")
    return bool(fit_callbacks(template)) or has_own_encoders(template) or given is not None


def run_fused(candidates, X, y, sample_weight, task, recorder=None, part=None):
    """Entries for `FittedMembers` of candidates of one group, trained by one program.

    `task` has not begun. `part` is their `Part` of a checkpoint: what they had reached there is where they go on.
    """
    fit = _Fit(candidates, X, y, sample_weight, recorder)
    program = get_program(fit.template.model_, len(candidates))
    state = program.stack([candidate.state for candidate in candidates])
    reached = None
    if part is not None:
        reached = part.load()
        part.start(sum(v.dtype.size * v.shape.num_elements() for values in state.parts for v in values))
    if reached is not None:
        state = fit.resume(reached)
        if task.verbose:
            print(f"{len(candidates)} members, resumed at epoch {reached['epoch']} of {fit.epochs}", flush=True)
    task.begin(fit.epochs)
    run = _run_watched if fit_callbacks(fit.template) else _run_unwatched
    entries = run(fit, program, state, task, part, reached)
    task.end(lambda: entries)
    return entries


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
    """What the members of a group train on: encoded data, rows, validation rows, batches and epochs.

    `template` is that of the first member; the others' differ in what is no part of the program.
    """

    def __init__(self, candidates, X, y, sample_weight, recorder=None):
        self.templates, copies, _ = zip(*candidates, strict=True)
        self.template = template = self.templates[0]
        self.seeds = [copy.seed for copy in copies]
        arguments = fit_arguments(template)
        self.epochs = arguments["epochs"]
        self.shuffle = arguments.get("shuffle", True)
        same_rows = all(t is template and copy.rows is copy.validation_rows is None for t, copy, _ in candidates)
        own_rows = [rows_of(t, c, X, y, sample_weight) for t, c, _ in (candidates[:1] if same_rows else candidates)]
        rows, held_out = zip(*own_rows, strict=True)
        self.n_rows = None if len({len(own) for own in rows}) == 1 else tuple(len(own) for own in rows)
        self.rows = np.broadcast_to(rows[0], (len(copies), len(rows[0]))) if same_rows else _side_by_side(rows)
        self.batch_size = train_batch_size(template, self.rows.shape[1])
        self.n_steps = -(-self.rows.shape[1] // self.batch_size)
        weights = weights_of(self.templates, copies, y, sample_weight)
        self.data = load_data(encode_features(template, X), encode_target(template, y), weights)
        self.validation = self._validation(arguments, held_out)
        self.evaluates = evaluated_epochs(arguments.get("validation_freq", 1))
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
            held_out = [np.arange(len(data.X))]
        if len(held_out) < len(self.seeds):
            held_out = held_out * len(self.seeds)
        n_rows = self.rows.shape[1]
        return (
            *data,
            np.stack(held_out),
            given_batch_size(arguments.get("validation_batch_size"), n_rows, self.batch_size),
        )

    def orders(self, n_epochs):
        """Rows in the order in which each member visits them in the next epochs, (n_epochs, n_members, n_rows)."""
        order = np.broadcast_to(self.rows, (n_epochs, *self.rows.shape))
        if not self.shuffle:
            return order
        shuffled = np.empty_like(order) if self.n_rows is None else order.copy()
        for k, generator in enumerate(self._generators):
            own = slice(None if self.n_rows is None else self.n_rows[k])
            generator.permuted(order[:, k, own], axis=1, out=shuffled[:, k, own])
        return shuffled

    def run(self, program, state, first_epoch, n_epochs, *, stop_on_nan=False):
        """Train for the next epochs; returns the state and logs of arrays of shape (n_epochs, n_members)."""
        evaluates = self.validation is not None and self.evaluates(first_epoch)
        return program.run(
            state,
            self.data,
            self.orders(n_epochs),
            batch_size=self.batch_size,
            n_rows=self.n_rows,
            learning_rates=None if self.recorder is None else self.recorder.epoch_rates(first_epoch, n_epochs),
            validation=self.validation if evaluates else None,
            stop_on_nan=stop_on_nan,
            expected_steps=self.epochs * self.n_steps,
        )

    def record(self, epoch, program, state, callbacks=()):
        """Let the recorder keep the state at the end of an epoch, as Keras would leave it if it were the last."""
        if self.recorder is not None and self.recorder.wants(epoch):
            self.recorder.record(epoch, program.unstack(program.finalize(state), 0), callbacks)

    def state(self, epoch, state, **more):
        """What is to be known to go on after some epochs, `more` included, as plain data and arrays."""
        return {
            "epoch": epoch,
            "parts": [[np.asarray(v) for v in part] for part in state.parts],
            "active": state.active,
            "generators": [generator.bit_generator.state for generator in self._generators],
            "recorder": None if self.recorder is None else self.recorder.state(),
            **more,
        }

    def resume(self, reached):
        """Go on from what `state` gave; returns the state of the program."""
        for generator, state in zip(self._generators, reached["generators"], strict=True):
            generator.bit_generator.state = state
        if self.recorder is not None:
            self.recorder.resume(reached["recorder"])
        parts = [[tf.convert_to_tensor(v) for v in part] for part in reached["parts"]]
        return State(*parts, active=reached["active"], epochs_run=np.zeros(len(self.seeds), int))

    def segments(self, n_reports=1, start=0, look_seconds=None):
        """(first epoch, number of epochs) of the runs in which Python need not look, in order: `n_reports` or more.

        With `look_seconds` they are as short as to take about that time, in steps of 1, 2, 4, ... epochs.
        """
        longest = max(1, min(_ORDER_BYTES // max(1, self.rows.nbytes), -(-self.epochs // n_reports)))
        cuts = [] if self.recorder is None else [end + 1 for end in self.recorder.last_ends(self.epochs)]
        now = longest if look_seconds is None else 1
        while start < self.epochs:
            stop = min([self.epochs, start + now, *(cut for cut in cuts if cut > start)])
            if self.validation is not None:
                evaluates = self.evaluates(start)
                stop = next((e for e in range(start + 1, stop) if self.evaluates(e) != evaluates), stop)
            began = time.perf_counter()
            yield start, stop - start
            if now < longest and time.perf_counter() - began < look_seconds:
                now = min(longest, 2 * now)
            start = stop


def _side_by_side(rows):
    """Rows of all members, (n_members, most rows); behind the last row of a member stands any."""
    together = np.zeros((len(rows), max(len(own) for own in rows)), rows[0].dtype)
    for line, own in zip(together, rows, strict=True):
        line[: len(own)] = own
    return together


def _run_unwatched(fit, program, state, task, part, reached):
    """Train to the last epoch without looking, but to tell and to keep what is reached."""
    histories = [{} for _ in fit.seeds] if reached is None else reached["histories"]
    first = 0 if reached is None else reached["epoch"]
    n_reports = fit.epochs if task.is_watched else _REPORTS if task.verbose else 1
    for start, n_epochs in fit.segments(n_reports, first, None if part is None else _LOOK_SECONDS):
        step = task.step("epoch")
        state, logs = fit.run(program, state, start, n_epochs)
        stop = start + n_epochs
        fit.record(stop - 1, program, state)
        _append_logs(histories, logs)
        if task.verbose:
            means = {name: values.mean(axis=1) for name, values in logs.items()}
            print_progress(f"{len(fit.seeds)} members, epoch {stop} of {fit.epochs}, mean", means)
        if part is not None and stop < fit.epochs:
            part.save(fit.state, stop, state, histories=histories)
        if step.end(partial(_unwatched_entries, fit, program, state, histories)):
            break
    return _unwatched_entries(fit, program, state, histories)


def _unwatched_entries(fit, program, state, histories):
    """Entries of members that no callback watched, as if the training ended with `state`."""
    state = program.finalize(state)
    arrays = tuple([np.asarray(v) for v in part] for part in (state.trainable, state.non_trainable, state.optimizer))
    entries = [None] * len(fit.seeds)
    for template in {id(template): template for template in fit.templates}.values():
        copies = [k for k, other in enumerate(fit.templates) if other is template]
        own = arrays if len(copies) == len(entries) else tuple([v[copies] for v in part] for part in arrays)
        trained = Trained(template, [fit.seeds[k] for k in copies], own, [history_of(histories[k]) for k in copies])
        for i, k in enumerate(copies):
            entries[k] = trained, i
    return entries


def _append_logs(histories, logs):
    for name, values in logs.items():
        for history, column in zip(histories, values.T, strict=True):
            history.setdefault(name, []).extend(column.tolist())


def _run_watched(fit, program, state, task, part, reached):
    """Train epoch by epoch and call each member's Keras callbacks in between."""
    members = [_build(fit.template, seed) for seed in fit.seeds]
    models = [member.model_ for member in members]
    for model in models:
        _build_metrics(model, fit.data)
    watchers = [MemberCallbacks(fit_callbacks(m), m.model_, fit.epochs, fit.n_steps) for m in members]
    for k, watcher in enumerate(watchers):
        write_state(models[k], program.unstack(state, k))
        watcher.begin()
    running, first = list(range(len(members))), 0
    if reached is not None:
        running, first = _resume_members(members, watchers, reached), reached["epoch"]
    for epoch in range(first, fit.epochs):
        step = task.step("epoch")
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
        if task.verbose:
            means = {name: values[:, running].mean(axis=1) for name, values in logs.items()}
            print_progress(f"{len(running)} of {len(members)} members, epoch {epoch + 1} of {fit.epochs}, mean", means)
        stops = step.end(partial(_watched_entries, fit, program, state, members, list(running)))
        for k in [k for k in running if watchers[k].stopped or stops or epoch + 1 == fit.epochs]:
            _end_member(members[k], watchers[k], program.unstack(state, k))
            running.remove(k)
        if not running:
            break
        if part is not None and all(watcher.has_state for watcher in watchers):
            part.save(_watched_state, fit, program, state, members, watchers, running, epoch)
    return members


def _watched_entries(fit, program, state, members, running):
    """Entries of members of which some still run, as if these ended with `state`."""
    entries = _unwatched_entries(fit, program, state, [member.model_.history.history for member in members])
    return [entry if k in running else members[k] for k, entry in enumerate(entries)]


def _watched_state(fit, program, state, members, watchers, running, epoch):
    """`state` of a fit after an epoch with what the callbacks know, and the members that have ended."""
    models = [member.model_ for member in members]
    state = _read_models(program, state, models, running, watchers[0].reads_variables)
    ended = {
        str(k): {"values": read_state(models[k]), "history": member.history_}
        for k, member in enumerate(members)
        if k not in running
    }
    known = {str(k): watchers[k].state() for k in running}
    return fit.state(epoch + 1, state, watchers=known, ended=ended)


def _resume_members(members, watchers, reached):
    """Put the members where `_watched_state` had them; returns those that are still running."""
    for k, ended in reached["ended"].items():
        write_state(members[int(k)].model_, ended["values"])
        members[int(k)].history_ = history_of(ended["history"])
    for k, known in reached["watchers"].items():
        watchers[int(k)].resume(known)
    return [int(k) for k in reached["watchers"]]


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
