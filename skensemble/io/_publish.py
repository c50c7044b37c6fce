"""Files that appear whole or not at all."""

import os
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".skensemble-"
_SECONDS_BEFORE_SWEEP = 3600


@contextmanager
def published(path):
    """A temporary file beside `path`, which takes its place when the block ends without an error.

    At any moment, also after a crash or with a full disk, `path` is the old file or the new one. An existing file keeps
    its permissions, and a symbolic link stays one.

    Parameters
    ----------
    path : str or path

    Yields
    ------
    binary file
        Readable and writable; its `name` is the path.
    """
    target = Path(os.path.realpath(path))
    _sweep(target.parent)
    handle, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield NamedStream(stream, name)
            stream.flush()
            os.chmod(name, _mode(target))
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_directory(target.parent)


class NamedStream:
    """A binary file, and the path it has for now.

    Parameters
    ----------
    stream : binary file
    name : str
    """

    def __init__(self, stream, name):
        self.stream, self.name = stream, name


def _mode(target):
    """Permissions of the file that is replaced; of a new one, those that `open` would give."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_directory(directory):
    if os.name != "posix":
        return  # Windows opens no directories, and needs none synced
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(directory):
    """Remove what processes that were killed left behind."""
    for path in directory.glob(f"{_PREFIX}*.tmp"):
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(\d+)-\w+\.tmp", path.name)
        with suppress(OSError):
            if match and time.time() - path.stat().st_mtime > _SECONDS_BEFORE_SWEEP and not _is_alive(int(match[1])):
                path.unlink()


def _is_alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
