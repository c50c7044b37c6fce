"""TensorFlow functions of all members, each traced once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.tensorflow.cost_model import first_mode
from skensemble._engine.tensorflow.functional_model import FunctionalModel
from skensemble._engine.tensorflow.hidden_state import refuse_hidden_operations
from skensemble._engine.tensorflow.mapping import Mode, each_member

#: A traced function.
Traced: TypeAlias = tf.types.experimental.ConcreteFunction


class MemberFunctions:
    """Functions of `n_members` members, which are mapped over the members or call one function for each of them.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int

    Attributes
    ----------
    mode : {"mapped", "side by side"}
    n_traces : int
        How many functions were traced so far.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        self.member, self.n_members = member, n_members
        self.mode: Mode = first_mode(member.model, n_members)
        self.n_traces = 0
        self._traced: dict[Hashable, Traced] = {}

    def each(self, function: Callable, *arguments: Any) -> Any:
        """Call the function of one member for all: stacked arguments in, stacked results out."""
        return each_member(self.mode, self.n_members, function, *arguments)

    def traced(
        self,
        key: Hashable,
        function: Callable,
        specs: Callable[[], Sequence],
        *,
        compiled: bool | None = None,
        calls_model: bool = False,
    ) -> Traced:
        """`function` traced for inputs of these specs, and kept under `key`.

        Parameters
        ----------
        key : hashable
        function : callable
        specs : callable
            `specs()` returns a nested structure of tf.TensorSpec for each argument; called only to trace.
        compiled : bool, optional
            Whether XLA compiles it.
        calls_model : bool, default=False
            Whether it calls the model itself, whose hidden state is refused.
        """
        with LOCK:
            if key not in self._traced:
                traced = tf.function(function, autograph=False, jit_compile=compiled).get_concrete_function(*specs())
                if calls_model:
                    refuse_hidden_operations(traced, self.member.model, self.member.created)
                self._traced[key] = traced
                self.n_traces += 1
            return self._traced[key]

    def work_side_by_side(self) -> None:
        """Call the function of one member for each from now on; all functions are traced anew."""
        self.mode = "side by side"
        self._traced.clear()

    def forget(self) -> None:
        """Let all functions be traced anew."""
        self._traced.clear()
