"""Members in shards, one per core: a mapped operation uses one core."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

from skensemble._engine.program.shards import run_in_shards
from skensemble._engine.records import Data, RunPlan, State
from skensemble._engine.tensorflow.data import load_data
from skensemble._engine.tensorflow.mapping import Mode
from skensemble._engine.tensorflow.program import Program, TensorFlowProgram
from skensemble._engine.tensorflow.step import FunctionalModel


class ShardedProgram(TensorFlowProgram):
    """Members in several shards, each trained by the program `shard` in its own thread.

    Parameters
    ----------
    member : FunctionalModel
    n_members, n_shards : int

    Attributes
    ----------
    shard : Program
        For the members of one shard.
    """

    def __init__(self, member: FunctionalModel, n_members: int, n_shards: int) -> None:
        super().__init__(member, n_members)
        self.n_shards, self.shard = n_shards, Program(member, n_members // n_shards)

    @property
    def mode(self) -> Mode:
        """How the members are computed."""
        return self.shard.mode

    @property
    def n_traces(self) -> int:
        """How many TensorFlow functions were traced so far."""
        return self.shard.n_traces + self.forward.n_traces

    def run(self, state: State, data: Data, plan: RunPlan) -> tuple[State, dict[str, np.ndarray]]:
        """As `Program.run`."""
        return run_in_shards(self.shard, self.n_shards, partial(tf.concat, axis=0), state, load_data(*data), plan)
