import numpy as np
import pytest
import tensorflow as tf

from skensemble._checkpoint.state_file import (
    read_description,
    read_state_file,
    set_aside,
    write_description,
    write_state_file,
)

ARRAYS = [
    np.arange(6, dtype="float32").reshape(2, 3),
    np.array(1 / 3),
    np.float32(1 / 3),  # read back as an array
    np.zeros((0, 4), "int64"),
    np.array([True, False]),
    np.array([1.5, -2.0], tf.bfloat16.as_numpy_dtype),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([np.nan, np.inf, -0.0]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays_come_back_bit_for_bit(array, tmp_path):
    """Type, shape and bits of an array are those that were written, and it can be changed."""
    write_state_file(tmp_path / "file", {"a": array})
    (read,) = read_state_file(tmp_path / "file").values()
    assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert read.flags.writeable


def test_plain_data_come_back_as_they_were(tmp_path):
    """Numbers keep every bit, integers of any size; tuples become lists; a dict may be named like the format's own."""
    numbers = [0.1, float("inf"), -0.0, -(2**64)]
    tree = {"n": 2**127 + 1, "x": numbers, "array": {"array": 0}, "dict": {"t": (1, "é", None, True)}}
    write_state_file(tmp_path / "file", tree)
    assert read_state_file(tmp_path / "file") == tree | {"dict": {"t": [1, "é", None, True]}}


def test_objects_are_not_written(tmp_path):
    """Objects would need pickle: an error, and the file that was there stays."""
    write_state_file(tmp_path / "file", {"a": 1})
    with pytest.raises(TypeError, match="without pickle: got dtype object"):
        write_state_file(tmp_path / "file", {"a": np.array([object()])})
    assert read_state_file(tmp_path / "file") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_that_was_changed_is_an_error(tmp_path):
    """One changed letter is noticed; a missing file is None."""
    path = tmp_path / "file.json"
    assert read_description(path) is None
    write_description(path, {"epochs": "9"})
    assert read_description(path) == {"epochs": "9"}
    path.write_bytes(path.read_bytes().replace(b'"9"', b'"8"'))
    with pytest.raises(ValueError, match="was changed"):
        read_description(path)


def test_files_that_were_set_aside_are_all_kept(tmp_path):
    """A second bad file does not take the place of the first."""
    for content in ("first", "second"):
        (tmp_path / "file").write_text(content)
        set_aside(tmp_path / "file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "file.aside-1": "first",
        "file.aside-2": "second",
    }
