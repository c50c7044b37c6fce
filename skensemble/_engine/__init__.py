"""Execution engine: members are trained and run together.

In the order in which data flows: `training.py` takes members, `plan.py` groups them, `execution.py` lets each group be
trained by `fused/`, `keras_fit.py` or `other_members.py`, here or in `workers/`. `results.py` and `fitted.py` hold what
comes out, and `prediction.py` predicts. Only `backend.py` knows the programs in `tensorflow/` and `jax/`, which share
`program/`.
"""
