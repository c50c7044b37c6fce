"""Which program a model gets: one for all members, or members in shards."""

from __future__ import annotations

from collections.abc import Callable

import keras

from skensemble._engine.base_program import BaseProgram
from skensemble._engine.program.cache import cached_program
from skensemble._engine.program.hyperparameters import free_signature
from skensemble._engine.program.prototype import LOCK
from skensemble._engine.tensorflow import estimates
from skensemble._engine.tensorflow.forward import first_mode
from skensemble._engine.tensorflow.fusable import why_not_fusable
from skensemble._engine.tensorflow.program import Program
from skensemble._engine.tensorflow.shards import ShardedProgram
from skensemble._engine.tensorflow.step import FunctionalModel
from skensemble._members.architecture import signature
from skensemble.exceptions import NotFusableError


def get_program(
    model: keras.Model,
    n_members: int,
    rebuild: Callable[[], keras.Model] | None = None,
    takes_hyperparameters: bool = False,
) -> BaseProgram:
    """The program for `n_members` models like `model`; see `_engine/backend.py`."""
    with LOCK:
        reason = why_not_fusable(model)
        if reason is not None:
            raise NotFusableError(reason)
        of_model = free_signature(model) if takes_hyperparameters else signature(model)
        return cached_program(
            (of_model, n_members), lambda: make_program(model, n_members, rebuild, takes_hyperparameters)
        )


def make_program(
    model: keras.Model,
    n_members: int,
    rebuild: Callable[[], keras.Model] | None = None,
    takes_hyperparameters: bool = False,
) -> BaseProgram:
    """A new program; members that are mapped are trained in shards where that pays."""
    member = FunctionalModel(model, rebuild, takes_hyperparameters=takes_hyperparameters)
    n_shards = 1
    if first_mode(member, n_members) == "mapped":
        n_shards = estimates.count_shards(n_members, n_members * member.n_values)
    return Program(member, n_members) if n_shards == 1 else ShardedProgram(member, n_members, n_shards)
