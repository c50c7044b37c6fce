"""Files that appear whole or not at all."""

import os
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".skensemble-"
_TEMPORARY = re.compile(rf"{re.escape(_PREFIX)}(\d+)-\w+\.tmp")
# The process may run on another machine that shares the directory, so it is given an hour.
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
        Readable and writable.
    """
    target = Path(os.path.realpath(path))
    sweep(target.parent)
    handle, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield stream
            stream.flush()
            os.chmod(name, _mode(target))
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_directory(target.parent)


def sweep(directory, *, seconds=_SECONDS_BEFORE_SWEEP):
    """Remove temporary files of processes that were killed.

    Parameters
    ----------
    directory : path
    seconds : float, default=3600
        Files that were written to more recently are left alone.
    """
    for path in Path(directory).glob(f"{_PREFIX}*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):
            if match and time.time() - path.stat().st_mtime >= seconds and not _is_alive(int(match[1])):
                path.unlink()


def _mode(target):
    """Permissions of the file that is replaced; of a new one, those that `open` would give."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_directory(directory):
    """Make the new name of a file survive a power cut."""
    if os.name != "posix":
        return  # Windows opens no directories, and needs none synced
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_alive(process_id):
    if os.name != "posix":
        return False  # signal 0 is Ctrl+C on Windows, which removes no file that is open
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
