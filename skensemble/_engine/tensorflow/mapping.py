"""One function for all members: mapped over them, or called for each of them in one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor  # TensorFlow 2.18 to 2.21: converters cannot be added in public

#: "mapped": ``tf.vectorized_map`` turns the function of one member into batched operations. Best for dense networks.
#: "side by side": the function is called once per member in one graph. Best for convolutions, and for what cannot be
#: mapped.
Mode = Literal["mapped", "side by side"]


def map_members(function: Callable, arguments: Any, *, may_loop: bool = False) -> Any:
    """``tf.vectorized_map``: stacked values in, stacked values out.

    It raises where an operation cannot be mapped, or with `may_loop` loops over the members there.
    """
    _know_bitcast()
    return tf.vectorized_map(function, arguments, fallback_to_while_loop=may_loop, warn=False)


def each_member(mode: Mode, n_members: int, function: Callable, *arguments: Any) -> Any:
    """Call `function` for every member: stacked arguments in, stacked results out."""
    if mode == "mapped":
        return map_members(lambda own: function(*own), arguments)
    calls = tf.function(function, autograph=False)
    flat = [tf.unstack(v, n_members) for v in tf.nest.flatten(arguments)]
    members = [calls(*tf.nest.pack_sequence_as(arguments, values)) for values in zip(*flat, strict=True)]
    return tf.nest.map_structure(lambda *values: tf.stack(values), *members)


def _know_bitcast() -> None:
    """Let ``tf.vectorized_map`` know Bitcast, by which Keras' `argmax` looks at the sign bit (TensorFlow 2.18 to 2.21).

    The converter lasts for the whole process and only helps code that would raise without it; it is added with the
    first trace.
    """
    if "Bitcast" in pfor._pfor_converter_registry:
        return

    @pfor.RegisterPFor("Bitcast")
    def _convert_bitcast(pfor_input: Any) -> pfor.WrappedTensor:  # its class is private
        return pfor.wrap(tf.bitcast(pfor_input.stacked_input(0), pfor_input.get_attr("type")), True)
