"""The choice of what pays: one program or Keras' own fit, for how many members at once, and computed in which way.

Pure functions of numbers that follow from the networks, the parameters and the data, never from measured time or from
what was traced before, so that the same fit makes the same choice on every machine. `benchmarks/bench_engine_choice.py`
measures the result.

Tracing a network takes about as long for a program as for Keras' `fit`, which traces each member again, so small
networks are always fused. Three things do not pay:

- Networks so large that their steps are all arithmetic take as long in a program as in Keras' fit, and more memory.
- A program is traced for each number of rows. A call of `partial_fit` is only one epoch, and Keras' fit continues with
  any number of rows.
- Mapping a loop over the members (recurrent layers) takes four times as long to trace as the loop itself, although its
  steps are faster then. For few members, the step of one is traced once and called for each.
"""

#: With this many trainable values or more, a step of a member takes ten times as long as Python needs to start it.
LARGE_MEMBER = 2**21
#: Members train together as long as their variables and activations need no more than this in addition to what Keras
#: needs.
WORKING_BYTES = 128 * 2**20
#: How often a program holds the variables and slots of a member at most (values before and after a step, gradients,
#: all in one row for the optimizer), and its activations.
STATE_COPIES, ACTIVATION_COPIES = 5, 2
#: Values that an optimizer keeps for each variable, the variable itself included: Adam's.
VALUES_PER_VARIABLE = 3
BYTES = 4  # of a float32
#: With this many members or more, mapping the loops of recurrent layers over them pays.
MANY_LOOPS = 6


def why_keras(n_values: int, *, is_alone: bool = False) -> str | None:
    """The reason, in words, why Keras' own fit is the better choice; None where the program is.

    Parameters
    ----------
    n_values : int
        Trainable values of a member.
    is_alone : bool, default=False
        Whether it is trained outside an ensemble.
    """
    if n_values < LARGE_MEMBER:
        return None
    program, it = ("a program", "it") if is_alone else ("a program for all members", "them")
    return (
        f"the network is large ({n_values:,} trainable values): {program} would take as long and need more memory "
        f"(engine='fused' trains {it} in one all the same)"
    )


def why_keras_alone(n_values: int, n_epochs: int, n_rows: int, first_rows: int | None = None) -> str | None:
    """`why_keras` for a network that is trained outside an ensemble.

    Parameters
    ----------
    n_values : int
        Trainable values.
    n_epochs, n_rows : int
        Of this call.
    first_rows : int, default=None
        Where the training is continued: how many rows the network was first trained on.
    """
    if first_rows not in (None, n_rows) and n_epochs == 1:
        return (
            f"the epoch has {n_rows} rows, not the {first_rows} of the first call, so that a program would be traced "
            "anew (engine='fused' does so all the same)"
        )
    return why_keras(n_values, is_alone=True)


def working_bytes(n_values: int, n_activations: int, batch_size: int) -> int:
    """Bytes that a program needs at most for a member in training.

    Parameters
    ----------
    n_values : int
        Trainable values.
    n_activations : int
        Values of the outputs of all layers for one row.
    batch_size : int
    """
    state = STATE_COPIES * VALUES_PER_VARIABLE * n_values
    return BYTES * (state + ACTIVATION_COPIES * n_activations * batch_size)


def members_at_once(n_members: int, member_bytes: int) -> list[int]:
    """Number of members in each part of a group, a list; the members of a part are trained together.

    Parts have the same size where possible: a part of another size needs its own program.

    Parameters
    ----------
    n_members : int
    member_bytes : int
        As returned by `working_bytes`.
    """
    most = min(n_members, max(1, WORKING_BYTES // max(1, member_bytes)))
    divisor = max(k for k in range(1, most + 1) if n_members % k == 0)
    if 2 * divisor > most:
        return [divisor] * (n_members // divisor)
    n_parts = -(-n_members // most)
    return [n_members // n_parts + (part < n_members % n_parts) for part in range(n_parts)]


def calls_step_for_each(n_members: int, *, convolves: bool, loops: bool) -> bool:
    """Whether the step of one member is called for each member, instead of being mapped over them.

    Parameters
    ----------
    n_members : int
    convolves, loops : bool
        Whether the network has convolutions, recurrent layers.
    """
    return convolves or (loops and n_members < MANY_LOOPS)
