"""What ensembles of one run share: the network that is trained once, and the rows that are held out of its training."""

import dataclasses

from sklearn.base import is_classifier

from skensemble._base.combining import hold_out
from skensemble._base.metadata_routing import member_metadata
from skensemble._checkpoint.store import keep_entropy, open_checkpoint
from skensemble._engine.progress import fitted_as
from skensemble._engine.training import fit_trajectory
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.member_checks import check_member
from skensemble._members.random_draws import spawn_seeds
from skensemble._members.spec import MemberSpec, is_frozen
from skensemble._wrappers.adapters import as_member
from skensemble.wrappers import KerasClassifier, KerasRegressor


def run_member(ensemble, sample_weight, params):
    """The network to train once, without its seed, and the epochs of the run; raises where it cannot be trained."""
    classifier, estimator = is_classifier(ensemble), as_member(ensemble.estimator)
    if estimator is None:
        estimator = KerasClassifier() if classifier else KerasRegressor()
    check_member(estimator, classifier=classifier)
    if is_frozen(estimator):
        raise TypeError(
            "`estimator` must be a network to train, from whose run the variables are kept: got a FrozenEstimator. "
            "Pass the estimator itself, or average fitted networks with KerasAveragingClassifier or "
            "KerasAveragingRegressor."
        )
    member = MemberSpec(estimator, seed=0, **member_metadata(ensemble, sample_weight, params))
    return member, FitArguments.of(estimator).epochs


def fit_run(ensemble, member, trajectory, data, learn, task, *, holds_out):
    """Train a network once and let the ensemble learn from the run.

    Parameters
    ----------
    ensemble : estimator
    member : MemberSpec
        As returned by `run_member`.
    trajectory : Trajectory
    data : TrainingData
    learn : callable
        `learn(ensemble, run, held_out)` sets what an ensemble learns from a `TrainedRun`; also called on copies while
        the network is trained. `held_out` are the rows that are held out, None where there are none.
    task : Task
        The fit.
    holds_out : bool
        Whether `validation_fraction` of the rows is not trained on.
    """
    rows = held_out = None
    with open_checkpoint(ensemble.checkpoint_dir) as checkpoint:
        (seed,) = spawn_seeds(keep_entropy(checkpoint, ensemble.random_state), 1)
        if holds_out:
            rows, held_out = hold_out(ensemble, data, seed)

        def learn_from(learning, run):
            learn(learning, run, held_out)

        def attributes_after(run):
            return None if run.checkpoints is None else fitted_as(ensemble, learn_from, run)

        task.set_data(data.X.given, data.y, data.sample_weight, attributes_after)
        run = fit_trajectory(
            dataclasses.replace(member, seed=seed, sample_indices=rows),
            trajectory,
            data,
            engine=ensemble.engine,
            task=task,
            checkpoint=checkpoint,
        )
    learn_from(ensemble, run)
