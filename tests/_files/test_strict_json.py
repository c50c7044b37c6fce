import pytest

from skensemble._files.strict_json import read_json, write_json


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1e999}', "must hold finite numbers"),
        (b'{"a": -1e999}', "must hold finite numbers"),
        (b'{"a": NaN}', "finite|NaN"),
        (b"[" * 200 + b"]" * 200, "must not be nested deeper"),
        (b'{"a": 1, "a": 2}', "must not have a key twice"),
        (b"1" * 5000, "more than"),
        (b"\xff", "must be JSON in UTF-8"),
        (b"{", "must be JSON: "),
    ],
)
def test_json_that_is_not_strict_is_refused(text, words):
    """Python's own parser would take these, or fail in ways of its own."""
    with pytest.raises(ValueError, match=words):
        read_json(text, "A text")


def test_json_has_one_form():
    """Keys are sorted, nothing is between the signs, and what is written is read."""
    assert write_json({"b": [1, 0.5, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1,0.5,null]}'
    assert read_json(write_json({"b": [1, 0.5, None], "a": "é"}), "it") == {"a": "é", "b": [1, 0.5, None]}


def test_error_is_of_the_class_that_the_caller_names():
    """Each kind of file has errors of its own."""
    with pytest.raises(KeyError, match="The list must be JSON"):
        read_json(b"[", "The list", KeyError)
