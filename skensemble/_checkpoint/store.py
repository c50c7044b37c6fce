"""The state of a fit in a directory, from which a fit that was killed continues to the same result, bit for bit.

A directory holds `fit.json` (what the fit depends on), `seed.json` (the entropy of a fit without a seed), `lock`, and
for members that are trained together a `.state` file (what they have reached), later a `.result` file.
"""

import json
import os
import secrets
import socket
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skensemble._checkpoint.fingerprint import changes, fingerprint
from skensemble._checkpoint.state_file import (
    read_description,
    read_state_file,
    set_aside,
    write_description,
    write_state_file,
)
from skensemble._compat.global_seeds import seeded
from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import encode_features, fit_override, given_callbacks, history_of
from skensemble._compat.scikeras_building import initialize
from skensemble._engine.records import Variables
from skensemble._engine.results import MemberResult
from skensemble._engine.stacked_members import StackedMember, StackedMembers, estimator_of
from skensemble._engine.variables import read_state, write_state
from skensemble._files.atomic import sweep
from skensemble._members.random_draws import draw_entropy
from skensemble._members.stable_description import describe, digest_text

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

# Writing takes at most this share of the time of a fit, except for the write at the end.
MAX_SHARE = 0.05
# The assumed cost of the first write, in seconds and by the size of the state; later ones are assumed to cost as much
# as the last.
_WRITE_SECONDS, _BYTES_PER_SECOND = 0.02, 2e8
# Windows locks bytes, which others then cannot read: so a byte far behind the end is locked.
_LOCKED_BYTE = 2**30


@contextmanager
def open_checkpoint(directory):
    """The `Checkpoint` in a directory, which no other fit can use at the same time; None without a directory.

    Parameters
    ----------
    directory : str, path-like or None
        Created if it does not exist.
    """
    if directory is None:
        yield None
        return
    path = Path(directory).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(f"`checkpoint_dir` must be a directory: {path} is a file. Give another name.") from error
    with _locked(path) as token:
        sweep(path, seconds=0)  # nobody else writes here
        yield Checkpoint(path, token)


@contextmanager
def _locked(path):
    """Hold the lock of a directory, which the system releases when the process dies; yields the token of the holder."""
    with open(path / "lock", "a+", encoding="utf-8") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                file.seek(_LOCKED_BYTE)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except (BlockingIOError, PermissionError) as error:
            holder = _holder(path)
            raise RuntimeError(
                f"`checkpoint_dir` must be used by one fit at a time: {path} is in use by process "
                f"{holder.get('process', '?')} on {holder.get('host', '?')}. Wait for it, or give each fit a directory "
                "of its own."
            ) from error
        token = secrets.token_hex(8)
        file.truncate(0)
        file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "token": token}))
        file.flush()
        yield token


def _holder(path):
    try:
        return json.loads((path / "lock").read_bytes())
    except ValueError:  # being written
        return {}


def keep_entropy(checkpoint, random_state):
    """Number from which all seeds follow, as in `draw_entropy`; where there is no seed, that of the directory."""
    if checkpoint is None or random_state is not None:
        return draw_entropy(random_state)
    kept = checkpoint.read_json("seed.json")
    if kept is None:
        kept = {"entropy": str(draw_entropy(None))}
        write_description(checkpoint.path / "seed.json", kept)
    return int(kept["entropy"])


class Checkpoint:
    """What a directory holds for the members of one fit. Workers get a copy. Made by `open_checkpoint`.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path, token):
        self.path, self._token = path, token
        self._first, self._keys, self._unfinished = 0, {}, {}

    def read_json(self, name):
        """Plain data of a file; None where there is no file, or an unreadable one, which is set aside."""
        try:
            return read_description(self.path / name)
        except ValueError as error:
            self._set_aside(self.path / name, error)
            return None

    def begin(self, members, data, engine, *, first=0, run=None):
        """Compare what the fit depends on with what the directory was begun with, and read what was finished.

        Parameters
        ----------
        members : list of MemberSpec
        data : TrainingData
        engine : str
        first : int, default=0
            Position of the first of `members` in the ensemble.
        run : Trajectory or StoppingRule, default=None
            What a single run keeps, or what ends the training of all members.

        Returns
        -------
        dict
            Index of a member to its `MemberResult`.

        Raises
        ------
        ValueError
            With what differs.
        """
        now = fingerprint(members, *data, engine, first=first, run=None if run is None else describe(run.facts()))
        before = self.read_json("fit.json")
        if before is not None and self._is_same(before, now):
            for part in ("members", "estimators"):
                now[part] = before[part] | now[part]
        if before != now:
            write_description(self.path / "fit.json", now)
        self._first = first
        common = [now[name] for name in ("format", "versions", "settings", "data", "engine", "run")]
        self._keys = {
            int(i): digest_text(json.dumps([common, i, one], sort_keys=True)) for i, one in now["members"].items()
        }
        return self._finished(members, data.X.floats, data.y)

    def _is_same(self, before, now):
        """Whether what the fit depends on is unchanged; an error where a change would spoil what there is."""
        found = changes(before, now)
        # Where nothing was trained, as after an error in the first fit, nothing is lost.
        if found and self._files():
            raise ValueError(
                f"`checkpoint_dir` must be used for one fit only: {self.path} was begun with something else. "
                f"Changed: {', '.join(found)}. Nothing was overwritten. Fit with what it was begun with, give another "
                "directory, or delete it to start anew; in cross-validation and searches every fit has other rows."
            )
        return not found

    def _files(self):
        return sorted(path for kind in ("state", "result") for path in self.path.glob(f"*.{kind}"))

    def part(self, numbers):
        """The `GroupCheckpoint` of members that are trained together; `numbers` are their indices in `begin`."""
        keys = [self._keys[i + self._first] for i in numbers]
        return GroupCheckpoint(self.path, keys, self._check_holder)

    def clean(self, members):
        """Remove states that `members`, as in `begin`, had reached in other groups, now that all are finished."""
        finished = {self._keys[i + self._first] for i in range(len(members))}
        for path, keys in self._unfinished.items():
            if finished.issuperset(keys):
                path.unlink(missing_ok=True)

    def _check_holder(self):
        if _holder(self.path).get("token") != self._token:
            raise RuntimeError(f"Another fit has taken over `checkpoint_dir` {self.path}: this one ends.")

    def _set_aside(self, path, why):
        warnings.warn(
            f"{path.name} in `checkpoint_dir` cannot be used: {why}. It is kept as {set_aside(path).name}, and what it "
            "held is trained again.",
            RuntimeWarning,
            stacklevel=find_stacklevel(),
        )

    def _read(self, path):
        """What a file holds; None where it does not belong to this fit, and the file is then set aside."""
        known = set(self._keys.values())
        try:
            record = read_state_file(path)
            if not known.issuperset(record["keys"]):
                raise ValueError("it is of another fit")
            if path.stem != _stem(record["keys"]):
                raise ValueError("it has the name of another file")
            return record
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._set_aside(path, error)
            return None

    def _finished(self, members, X, y):
        numbers = {self._keys[i + self._first]: i for i in range(len(members))}
        found, self._unfinished = {}, {}
        for path in self._files():
            record = self._read(path)
            if record is None:
                continue
            if path.suffix == ".state":
                self._unfinished[path] = record["keys"]
                continue
            own = {numbers[key]: k for k, key in enumerate(record["keys"]) if key in numbers}
            own = {i: k for i, k in own.items() if i not in found}
            entries = _restore_entries(record, {i: members[i] for i in own}, own, X, y)
            for i, entry in entries.items():
                found[i] = MemberResult(entry, record["engine"], record["reason"], record["recorder"])
        return found


class GroupCheckpoint:
    """The file of members that are trained together, written when that is worth its time.

    Parameters
    ----------
    directory : Path
    keys : list of str
        Of the members: digests of what their result depends on.
    check : callable
        Raises where another fit uses the directory.
    """

    def __init__(self, directory, keys, check):
        self._keys, self._check = keys, check
        self._state, self._result = (directory / f"{_stem(keys)}.{kind}" for kind in ("state", "result"))
        self._pace = Pace()

    def load(self):
        """The state that the members had reached; None where there is none."""
        return read_state_file(self._state)["state"] if self._state.exists() else None

    def start(self, n_bytes):
        """Begin to measure time; the state takes `n_bytes`."""
        self._pace = Pace(n_bytes)

    def save(self, make_state):
        """Write the state of the members if it is time for that; `make_state()` returns it as plain data and arrays."""
        if self._pace.is_due():
            with self._pace.writing():
                self._write(self._state, {"state": make_state()})

    def finish(self, results, recorder=None):
        """Write the results of the members, a list of `MemberResult`."""
        if any(fit_override(estimator_of(one.member)) for one in results):
            return  # what such estimators learn beside the variables is not known
        values, histories = zip(*(_learned(one.member) for one in results), strict=True)
        state = [[np.stack(v) for v in zip(*part, strict=True)] for part in zip(*values, strict=True)]
        kept = None if recorder is None else recorder.state()
        how = {"engine": results[0].engine, "reason": results[0].reason}
        self._write(self._result, {"state": state, "histories": histories, **how, "recorder": kept})
        self._state.unlink(missing_ok=True)

    def _write(self, path, record):
        self._check()
        write_state_file(path, {"keys": self._keys, **record})


def _stem(keys):
    return digest_text(" ".join(keys))[:20]


def _learned(entry):
    """(variables, history) of a trained member."""
    if isinstance(entry, StackedMember):
        return entry.values(), dict(entry.history)
    return read_state(entry.model_), dict(entry.history_)


def _restore_entries(record, members, rows, X, y):
    """Entries for `FittedMembers` of members that were finished, by index; `rows` are those in the arrays."""
    if record["engine"] != "fused":
        return {i: _restore_estimator(record, member, rows[i], X, y) for i, member in members.items()}
    entries, families = {}, {}
    for i, member in members.items():
        families.setdefault(id(member.estimator), []).append(i)
    for family in families.values():
        prototype = _initialized(members[family[0]], X, y)
        own = [rows[i] for i in family]
        variables = Variables(*([values[own] for values in part] for part in record["state"]))
        histories = [history_of(record["histories"][k]) for k in own]
        trained = StackedMembers(prototype, [members[i].seed for i in family], variables, histories)
        entries |= {i: StackedMember(trained, k) for k, i in enumerate(family)}
    return entries


def _restore_estimator(record, member, row, X, y):
    """A member as Keras' own fit left it."""
    fitted = _initialized(member, X, y)
    write_state(fitted.model_, tuple([values[row] for values in part] for part in record["state"]))
    fitted.history_ = history_of(record["histories"][row])
    return fitted


def _initialized(member, X, y):
    estimator = member.new_estimator()
    with seeded(member.seed), given_callbacks(estimator, member.callbacks):
        initialize(estimator, X, y)
        if not estimator.model_.built:
            estimator.model_(encode_features(estimator, X[:1]))
    return estimator


class Pace:
    """When to write, so that writing takes at most `MAX_SHARE` of the time; by the duration of the last write.

    Parameters
    ----------
    n_bytes : int, default=0
        Size of what is written: the first write is assumed to take as long as that usually does.
    clock : callable, default=time.perf_counter
        Seconds.
    """

    def __init__(self, n_bytes=0, clock=time.perf_counter):
        self._clock, self._written = clock, clock()
        self._cost = max(_WRITE_SECONDS, n_bytes / _BYTES_PER_SECOND)

    def is_due(self):
        """Whether enough time has passed since the last write for another one to stay within the share."""
        return (self._clock() - self._written) * MAX_SHARE >= self._cost * (1 - MAX_SHARE)

    @contextmanager
    def writing(self):
        """Measure a write."""
        start = self._clock()
        yield
        self._written = self._clock()
        self._cost = self._written - start
