"""How much faster do twenty members predict in one pass than in a loop of `model.predict`?

350 rows, second call on both sides. The ensemble is timed as `fit` leaves it, and again after its members were asked
for as estimators. Then `to_keras`: is `model.predict` of all twenty as one Keras model faster than that of five alone?
"""

import numpy as np
from _harness import run, seconds
from _tutorial import N_MEMBERS, blobs, ensemble

CALLS = 20
N_FEW = 5


def main(bench):
    X, y, X_test = blobs()
    epochs = 2 if bench.quick else 20
    fitted, built = ensemble(epochs=epochs).fit(X, y), ensemble(epochs=epochs).fit(X, y)
    models = [member.model_ for member in built.estimators_]

    def loop():
        return np.mean([model.predict(X_test, verbose=0) for model in models], axis=0)

    np.testing.assert_allclose(fitted.predict_proba(X_test), loop(), rtol=1e-5)  # the first call of the loop, too
    times = bench.repeat(
        5,
        fitted=lambda: per_call(lambda: fitted.predict_proba(X_test), bench.quick),
        built=lambda: per_call(lambda: built.predict_proba(X_test), bench.quick),
        loop=lambda: seconds(loop),
    )
    one = fitted.to_keras()
    np.testing.assert_allclose(one.predict(X_test, verbose=0), fitted.predict_proba(X_test), rtol=1e-5)
    times |= bench.repeat(
        5,
        one=lambda: seconds(one.predict, X_test, verbose=0),
        few=lambda: seconds(lambda: [model.predict(X_test, verbose=0) for model in models[:N_FEW]]),
    )
    name = f"{N_MEMBERS} members, {len(X_test)} rows, second call"
    for title, state in ((name, "fitted"), (f"{name}, estimators_ built", "built")):
        calls = [one for calls in times[state] for one in calls]
        bench.compare(title, calls, times["loop"], peer_name="loop of model.predict", at_least=300)
    title = f"{N_MEMBERS} members as one Keras model, {len(X_test)} rows, second call"
    bench.compare(title, times["one"], times["few"], peer_name=f"{N_FEW} of them by model.predict", at_least=1)


def per_call(predict, quick):
    """Seconds of each of some calls after a first one."""
    predict()
    return [seconds(predict) for _ in range(2 if quick else CALLS)]


if __name__ == "__main__":
    run(main)
