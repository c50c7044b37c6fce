import numpy as np
import pytest
import tensorflow as tf

from skensemble._state_file import (
    read_json,
    read_state_file,
    set_aside,
    sweep_temporaries,
    write_atomically,
    write_json,
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
    tree = {"n": 2**127 + 1, "x": [0.1, float("inf"), -0.0], "array": {"array": 0}, "dict": {"t": (1, "é", None, True)}}
    write_state_file(tmp_path / "file", tree)
    assert read_state_file(tmp_path / "file") == tree | {"dict": {"t": [1, "é", None, True]}}


def test_objects_are_not_written(tmp_path):
    """Objects would need pickle: an error, and the file that was there stays."""
    write_state_file(tmp_path / "file", {"a": 1})
    with pytest.raises(TypeError, match="without pickle: got dtype object"):
        write_state_file(tmp_path / "file", {"a": np.array([object()])})
    assert read_state_file(tmp_path / "file") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_failed_writes_leave_the_old_file(tmp_path):
    """Where a write fails on the way, as on a full disk, the file is the one before, and nothing lies beside it."""

    def chunks():
        yield b"begin"
        raise OSError("No space left on device")

    path = tmp_path / "file"
    write_atomically(path, [b"old ", b"file"])
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, chunks())
    assert path.read_bytes() == b"old file"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_own_temporaries_are_swept(tmp_path):
    """What a killed write left is removed, what others put into the directory is not."""
    (tmp_path / ".a.state.1f2e.writing").touch()
    others = {".hidden", "a.state", "notes.writing"}
    for name in others:
        (tmp_path / name).touch()
    sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others


def test_json_that_was_changed_is_an_error(tmp_path):
    """One changed letter is noticed; a missing file is None."""
    path = tmp_path / "file.json"
    assert read_json(path) is None
    write_json(path, {"epochs": "9"})
    assert read_json(path) == {"epochs": "9"}
    path.write_bytes(path.read_bytes().replace(b'"9"', b'"8"'))
    with pytest.raises(ValueError, match="was changed"):
        read_json(path)


def test_files_that_were_set_aside_are_all_kept(tmp_path):
    """A second bad file does not take the place of the first."""
    for content in ("first", "second"):
        (tmp_path / "file").write_text(content)
        set_aside(tmp_path / "file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "file.aside-1": "first",
        "file.aside-2": "second",
    }
