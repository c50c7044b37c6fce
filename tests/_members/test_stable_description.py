import functools
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from skensemble import KerasClassifier
from skensemble._members import stable_description
from skensemble._members.stable_description import describe, describe_parameters, digest_array


def compiled(source):
    """What `f` is after this code."""
    namespace = {"keras": keras, "np": np, "__name__": "__main__"}
    exec(textwrap.dedent(source), namespace)
    return namespace["f"]


def dense_model(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(1)])


class Plain:
    def __init__(self, value):
        self.value = value


def cyclic(value):
    plain = Plain(value)
    plain.itself = [plain]
    return plain


DIFFERENT = [
    (1, 1.0),
    ("1", 1),
    (None, False),
    ((1, 2), [1, 2]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (np.zeros(2), np.zeros(2, "float32")),
    (np.zeros(2), np.zeros((2, 1))),
    (np.sin, np.cos),
    (len, min),
    (functools.partial(max, 1), functools.partial(max, 2)),
    (np.random.RandomState(0), np.random.RandomState(1)),
    (np.random.default_rng(0), np.random.default_rng(1)),
    (keras.activations.relu, keras.activations.tanh),
    (keras.optimizers.SGD, keras.optimizers.Adam),
    (keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)),
    (keras.callbacks.EarlyStopping(patience=1), keras.callbacks.EarlyStopping(patience=2)),
    (dense_model(0), dense_model(1)),
    (RandomForestClassifier(max_depth=1), RandomForestClassifier(max_depth=2)),
    (Plain(1), Plain(2)),
    (cyclic(1), cyclic(2)),
    (Plain(1).__init__, Plain(2).__init__),
]
CODE = [
    ("f = lambda x: x + 1", "f = lambda x: x + 2"),
    ("def f(x=1): pass", "def f(x=2): pass"),
    ("def f(*, x=1): pass", "def f(*, x=2): pass"),
    ("def f(): return [i + 1 for i in range(3)]", "def f(): return [i + 2 for i in range(3)]"),
    ("def f(): return np.sin(1)", "def f(): return np.cos(1)"),
    ("a = 1\ndef f(): return a", "a = 2\ndef f(): return a"),
    ("def g(): return 1\ndef f(): return g()", "def g(): return 2\ndef f(): return g()"),
    ("def g(a):\n  return lambda: a\nf = g(1)", "def g(a):\n  return lambda: a\nf = g(2)"),
    ("class f:\n  def a(self): return 1", "class f:\n  def a(self): return 2"),
    ("class f:\n  a = 1", "class f:\n  a = 2"),
    ("class f:\n  a = property(lambda self: 1)", "class f:\n  a = property(lambda self: 2)"),
    ("class g: a = 1\nclass f(g): pass", "class g: a = 2\nclass f(g): pass"),
    (
        "class f(keras.layers.Dense):\n  def call(s, x): return x",
        "class f(keras.layers.Dense):\n  def call(s, x): return -x",
    ),
]


@pytest.mark.parametrize(
    ("one", "other"), DIFFERENT + [(compiled(a), compiled(b)) for a, b in CODE], ids=lambda value: type(value).__name__
)
def test_different_values_have_different_texts(one, other):
    """A change of a value, of what it holds, or of the code that it runs, changes the text."""
    assert describe(one) != describe(other)
    assert describe(one) == describe(one)


@pytest.mark.parametrize("source", [a for a, _ in CODE])
def test_texts_do_not_depend_on_the_place_of_the_code(source):
    """The same code at other lines of a file has the same text."""
    assert describe(compiled(source)) == describe(compiled("# a comment\n\n" + source))


def test_names_that_keras_counts_up_do_not_matter():
    """A model that is built later in a process has layers of other names."""
    assert dense_model().layers[0].name != dense_model().layers[0].name
    assert describe(dense_model()) == describe(dense_model())


OTHER_PROCESS = """
import keras
from sklearn.ensemble import RandomForestClassifier
from skensemble._members.stable_description import describe

class Layer(keras.layers.Dense):
    def call(self, inputs):
        return {"b", "a", "c"} and super().call(inputs)

def build(meta, units={"x", "y", "z"}):
    return keras.Sequential([Layer(3, kernel_initializer="ones")])

callbacks = [keras.callbacks.EarlyStopping(), keras.callbacks.ReduceLROnPlateau()]
text = describe([build, Layer, keras.optimizers.Adam(), RandomForestClassifier(), callbacks, keras.losses.Huber()])
"""


@pytest.mark.slow
def test_texts_are_the_same_in_another_process():
    """No address, no order of a set and no count of a process is in a text."""
    namespace = {"__name__": "__main__"}
    exec(OTHER_PROCESS, namespace)
    command = [sys.executable, "-c", f"{OTHER_PROCESS}\nprint(text)"]
    other = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert other == f"{namespace['text']}\n"


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "U3", object])
def test_digest_of_an_array_does_not_depend_on_how_it_lies(dtype, monkeypatch):
    """Chunks, memory order and memory maps give one digest; a changed last value another."""
    array = np.arange(60).reshape(20, 3).astype(dtype)
    whole = digest_array(array)
    monkeypatch.setattr(stable_description, "_CHUNK_BYTES", 3 * array[:1].nbytes)
    assert digest_array(array) == whole
    assert digest_array(np.asfortranarray(array)) == whole
    changed = array.copy()
    changed[-1, -1] = np.array([0]).astype(dtype)[0]
    assert digest_array(changed) != whole
    assert digest_array(array[:0]) != digest_array(array[:0].reshape(0, 3, 1))


def test_digest_of_a_memory_map(tmp_path):
    """A file has the digest of its values."""
    np.save(tmp_path / "array.npy", np.arange(12.0).reshape(4, 3))
    assert digest_array(np.load(tmp_path / "array.npy", mmap_mode="r")) == digest_array(np.arange(12.0).reshape(4, 3))


def test_seed_and_verbosity_of_a_member_are_no_parameters_of_its_training():
    """The ensemble sets the seed; what is printed changes nothing."""
    one, other = KerasClassifier(random_state=0, verbose=0), KerasClassifier(random_state=1, verbose=2)
    assert describe_parameters(one) == describe_parameters(other)
