"""The final estimator of stacking: checked before training, fitted on meta-features, and what it predicts from them."""

import dataclasses

import keras
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skensemble._base.meta_features import meta_features
from skensemble._base.metadata_routing import asks_in_fit, fit_metadata, split_metadata
from skensemble._base.named_members import own_seed, takes_several_targets
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import InvalidParameterError, routing_enabled, tags_of
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.prediction import predict_each
from skensemble._engine.training import fit_members
from skensemble._export import FINAL_NAME
from skensemble._heads import Head
from skensemble._members.inputs import Inputs
from skensemble._members.member_checks import check_kind
from skensemble._members.other_estimators import knows_positions, unnamed_columns, weight_parameter
from skensemble._members.random_draws import spawn_seeds
from skensemble._members.spec import MemberSpec, is_frozen, is_network, unwrapped
from skensemble._numeric.host_rows import without_rows
from skensemble._numeric.sparse_rows import dense_or_rows


def final_metadata(stacked, final, sample_weight, params):
    """What `fit` of the final estimator is given in addition to its columns and y."""
    if routing_enabled() and asks_in_fit(final):
        return fit_metadata(stacked, [(FINAL_NAME, final)], sample_weight, params)[FINAL_NAME]
    given = {name: value for name, value in params.items() if has_fit_parameter(final, name)}
    return given if sample_weight is None else given | {"sample_weight": sample_weight}


def check_final(stacked, final, X, y, sample_weight):
    """Raise where the final estimator cannot learn from what members predict, and from X where it is passed through."""
    check_kind(final, classifier=is_classifier(stacked), name="final_estimator")
    if isinstance(final, Head):
        final.check_stack(stacked.stack_method_, stacked.passthrough)
    elif not isinstance(unwrapped(final), BaseWrapper):
        requested = routing_enabled() and asks_in_fit(final)
        _check_other_final(final, y, None if requested else sample_weight)
    if stacked.passthrough and not X.row_shape:
        raise ValueError("`passthrough` needs X of two dimensions: got texts. Use passthrough=False.")
    if stacked.passthrough is True and len(X.row_shape) > 1:
        raise ValueError(
            f"`passthrough=True` needs X of two dimensions: got {1 + len(X.row_shape)}. Use passthrough='flatten' "
            "to pass each row to the final estimator as one vector, or passthrough=False."
        )


def _check_other_final(final, y, sample_weight):
    what = f"`final_estimator` is {type(unwrapped(final)).__name__}"
    if sample_weight is not None and not is_frozen(final) and weight_parameter(final) is None:
        raise InvalidParameterError(
            f"`sample_weight` needs a final estimator that takes it: {what}, whose fit does not."
        )
    if y.ndim > 1 and not takes_several_targets(tags_of(final)):
        raise ValueError(
            f"y of several columns needs a final estimator that takes it: {what}, y has {y.shape[1]} columns. Use "
            "another, such as final_estimator='concatenate'."
        )


def final_member(stacked, final, metadata, sample_weight):
    """The final estimator as a member to train, with the seed after those of the members."""
    seed = own_seed(final, spawn_seeds(stacked._entropy, len(stacked._names) + 1)[-1])
    return MemberSpec(final, seed, name="final estimator", **split_metadata(metadata, sample_weight))


def fit_final(stacked, member, data, trained, task):
    """Fit the final estimator; sets it, and which engine trained the networks.

    Parameters
    ----------
    stacked : estimator
    member : MemberSpec
        As returned by `final_member`.
    data : TrainingData
        X are meta-features of shape (n_samples, n_columns).
    trained : TrainedMembers
        How the members were trained.
    task : Task
    """
    final = member.estimator
    if isinstance(final, Head) and final.member_columns is None:
        final = clone(final).set_params(member_columns=stacked._member_columns)
    result = fit_members(
        [dataclasses.replace(member, estimator=final)],
        data._replace(X=_as_input(data.X, final)),
        engine=stacked.engine,
        task=task,
    )
    (stacked.final_estimator_,) = result.estimators
    by_engine = [one for one in (trained, result) if one.engine != "none"] or [trained]
    stacked.engine_ = " and ".join(sorted({name for one in by_engine for name in one.engine.split(" and ")}))
    stacked.engine_reason_ = "; ".join(dict.fromkeys(one.reason for one in by_engine))


def _as_input(columns, estimator):
    """Columns as the estimator takes them: networks in Keras' float type."""
    return Inputs(columns, dense_or_rows(columns.astype(keras.config.floatx())) if is_network(estimator) else None)


def final_input(stacked, X):
    """`Inputs` of the final estimator for X as the user gave it."""
    check_is_fitted(stacked)
    return _as_input(meta_features(stacked, stacked._validate_X(X)), stacked.final_estimator_)


def predict_final(stacked, columns):
    """Decoded prediction of the final estimator for `Inputs`, by the fused forward pass where it is a network."""
    (prediction,) = predict_each(FittedMembers([stacked.final_estimator_]), columns)
    return prediction.values


def predict_alone(stacked, columns, **predict_params):
    """What `predict` of the final estimator itself gives for `Inputs`, with labels as they are in y."""
    final, classes = stacked.final_estimator_, stacked._member_classes()
    with unnamed_columns():
        X = without_rows(columns.floats) if is_network(final) else columns.given
        prediction = final.predict(X, **predict_params)
    if classes is None or not knows_positions(unwrapped(final), classes):
        return prediction
    return classes[prediction]
