"""State that a training step changes or reads although it is in no list of the model: refused.

The program carries the variables of the model, its optimizer and its metrics, one set for each member. Anything else (a
``tf.Variable`` held by a layer, a loss that counts its calls, TensorFlow's own random generators) exists once in the
program, where each of Keras' models has its own, and would silently give wrong results.

`refuse_hidden_assignments` sees Keras' variables, whose assignments go through the ``StatelessScope``;
`refuse_hidden_operations` sees everything else in the traced graph, and `refuse_global_random_numbers` of
`prototype.py` what is not part of the graph: numbers drawn by Python and NumPy while it is traced.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from skensemble.exceptions import NotFusableError

#: Stateful operations that write a variable, a table or a random generator. Other stateful operations read, print,
#: raise, call functions or loop.
_WRITES = re.compile(
    "Assign|Resource(Apply|SparseApply|Scatter|StridedSliceAssign|CountUpTo)|LookupTable(Import|Insert|Remove)"
)
_DRAWS = re.compile(
    "Random|Multinomial$|TruncatedNormal|ParameterizedTruncatedNormal|Rng|Stateful(Random|Standard|Truncated|Uniform)"
)


@contextmanager
def created_variables() -> Iterator[list[tf.Variable]]:
    """Collect the `tf.Variable`s that are created in the block."""
    created: list[tf.Variable] = []

    def record(create: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
        variable = create(**arguments)
        created.append(variable)
        return variable

    with tf.variable_creator_scope(record):
        yield created


def refuse_hidden_assignments(updated: dict[int, keras.Variable], known: Sequence[keras.Variable]) -> None:
    """Raise where a Keras variable was assigned to that is not one of the `known` ones.

    Parameters
    ----------
    updated : dict of int to keras.Variable
        Variables that were assigned to, by `id`.
    known : list of keras.Variable
    """
    allowed = {id(v) for v in known}
    hidden = [variable for key, variable in updated.items() if key not in allowed]
    if hidden:
        raise NotFusableError(
            f"a layer, loss or metric changes the variable {hidden[0].path!r}, which is not the model's "
            "(random numbers without a SeedGenerator?)"
        )


def refuse_hidden_operations(
    function: tf.types.experimental.ConcreteFunction, prototype: keras.Model, created: Sequence[tf.Variable]
) -> None:
    """Raise where a traced function writes a variable, draws random numbers by a generator, or reads hidden state.

    Parameters
    ----------
    function : tf.types.experimental.ConcreteFunction
    prototype : keras.Model
        Whose steps were traced.
    created : list of tf.Variable
        Those of the prototype. A step must not read any of them: it computes with the values of each member.
    """
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    for node in nodes:
        if _WRITES.match(node.op):
            raise NotFusableError(
                f"{_where(node.name, prototype)} changes a TensorFlow variable or table that is not among the model's "
                f"variables ({node.op})"
            )
        if _DRAWS.match(node.op):
            raise NotFusableError(
                f"{_where(node.name, prototype)} draws random numbers from a generator of TensorFlow ({node.op}), not "
                "from a keras.random.SeedGenerator"
            )
    read = {id(outer) for outer, _ in function.graph.captures}
    hidden = [v for v in created if id(v.handle) in read]
    if hidden:
        raise NotFusableError(
            f"a layer reads the variable {hidden[0].name!r}, which is not among the model's variables"
        )


def _where(name: str, prototype: keras.Model) -> str:
    """The innermost layer in whose name scope an operation is; TensorFlow counts up scopes that are entered again."""
    layers = {layer.name for layer in prototype._flatten_layers(include_self=False)}
    for part in reversed(name.split("/")):
        for scope in (part, re.sub(r"_\d+$", "", part)):
            if scope in layers:
                return f"layer {scope!r}"
    return "a layer, loss or metric"
