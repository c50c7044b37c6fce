"""Kills, full disks and failing calls while a file is written: there is always a whole file, the old or the new."""

import errno
import os
import random
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from skensemble._files.atomic import published, sweep
from skensemble.io._zip_container import Container, write_container

ENTRIES = ("arrays.safetensors", "architectures/0000.json", "members/00000.safetensors", "probe.safetensors")


def forks(test):
    """Mark a test whose writers are forks of this process; they use none of its threads, of which Python warns."""
    test = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")(test)


def save(path, version, size=1000):
    """Publish a file whose every entry holds `version`."""
    with published(path) as file:
        write_container(file, {"version": version}, {name: bytes([version]) * size for name in ENTRIES})


def saved(path, version):
    """Whether publishing worked, and did not fail for want of space."""
    try:
        save(path, version)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG):
            raise
        return False
    return True


def version_of(path):
    """The version that a file holds, every byte of it checked."""
    with Container(path) as container:
        container.check_all()
        return container.manifest["version"]


def leftovers(folder):
    """Names in a folder besides that of the file."""
    return [path.name for path in folder.iterdir() if path.name not in ("x.skens", "link.skens")]


# Every call that may fail


class Faults:
    """Lets the k-th of the calls that writing a file makes raise OSError.

    Attributes
    ----------
    called : list of str
        Names of the calls so far.
    """

    def __init__(self, monkeypatch, k):
        self.k, self.called = k, []
        for module, names in ((os, ("fsync", "chmod", "replace", "open", "fdopen")), (tempfile, ("mkstemp",))):
            for name in names:
                monkeypatch.setattr(module, name, self.counted(name, getattr(module, name)))

    def counted(self, name, function):
        def call(*arguments, **options):
            self.called.append(name)
            if len(self.called) == self.k:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            result = function(*arguments, **options)
            return FaultyStream(result, self) if name == "fdopen" else result

        return call


class FaultyStream:
    """A file whose calls count; closing it closes the file even where the call fails, as Python's own does."""

    def __init__(self, stream, faults):
        self._stream, self._faults = stream, faults

    def __getattr__(self, name):
        value = getattr(self._stream, name)
        return self._faults.counted(name, value) if name in ("write", "flush") else value

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stream.close()


def test_every_call_may_fail(tmp_path, monkeypatch):
    """Whichever call fails, the error comes out, the file is whole, and nothing else is left behind."""
    path = tmp_path / "x.skens"
    save(path, 1)
    for k in range(1, 1000):
        with monkeypatch.context() as patch:
            faults = Faults(patch, k)
            if saved(path, 2):
                break
        after_replace = "replace" in faults.called[:-1]
        assert version_of(path) == (2 if after_replace else 1), faults.called
        assert leftovers(tmp_path) == [], faults.called
        save(path, 1)
    assert version_of(path) == 2
    assert {"mkstemp", "fdopen", "write", "flush", "chmod", "fsync", "replace", "open"} <= set(faults.called)
    assert k > 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_error_in_the_block_leaves_the_old_file(tmp_path, error):
    """What stops the writing stops it without a trace."""
    path = tmp_path / "x.skens"
    save(path, 1)

    def interrupted():
        with published(path) as file:
            file.write(b"half a file")
            raise error

    with pytest.raises(error):
        interrupted()
    assert version_of(path) == 1
    assert leftovers(tmp_path) == []


def test_new_file_of_a_failed_save_is_not_there(tmp_path):
    """Where there was no file, there is none afterwards."""
    with pytest.raises(RuntimeError), published(tmp_path / "x.skens"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


# The disk


@forks
def test_limit_of_the_size(tmp_path, counts):
    """Wherever in the file the disk is full, the old file stays: 4 entries of 1000 bytes and their directory."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "x.skens"
    save(path, 1)
    whole = path.stat().st_size
    for size in range(0, whole, whole // counts(12, 60)):
        process = os.fork()
        if process == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            try:
                os._exit(1 if saved(path, 2) else 0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, size
        assert version_of(path) == 1
        assert leftovers(tmp_path) == []


def test_link_stays_a_link(tmp_path):
    """Saving to a symbolic link replaces what it points to, in that directory."""
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "x.skens", tmp_path / "link.skens"
    save(target, 1)
    link.symlink_to(target)
    save(link, 2)
    assert link.is_symlink()
    assert version_of(target) == 2
    assert leftovers(tmp_path) == ["store"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions(tmp_path):
    """A file that is replaced keeps its permissions; a new one gets those that `open` would give it."""
    path = tmp_path / "x.skens"
    save(path, 1)
    (tmp_path / "opened").open("w").close()
    assert path.stat().st_mode == (tmp_path / "opened").stat().st_mode
    path.chmod(0o640)
    save(path, 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission(tmp_path):
    """Where no file may be made, the old one stays and the error says so."""
    path = tmp_path / "x.skens"
    save(path, 1)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            save(path, 2)
        assert version_of(path) == 1
    finally:
        tmp_path.chmod(0o755)


def test_missing_directory(tmp_path):
    """Directories are not made."""
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "missing" / "x.skens", 1)


@pytest.mark.skipif(os.name != "posix", reason="Windows locks files that are open")
def test_reader_keeps_what_it_opened(tmp_path):
    """A file that is read while another takes its place is read to its end."""
    path = tmp_path / "x.skens"
    save(path, 1)
    with Container(path) as container:
        save(path, 2)
        container.check_all()
        assert container.manifest["version"] == 1
    assert version_of(path) == 2


def test_file_that_is_overwritten_in_place_is_noticed(tmp_path):
    """Another program that writes into the open file gives an error, not a mixture."""
    path = tmp_path / "x.skens"
    save(path, 1)
    with Container(path) as container:
        with path.open("r+b") as file:
            file.write(b"\0")
            file.flush()
            os.utime(file.fileno(), (1, 1))
        with pytest.raises(ValueError, match="changed while it was read"):
            container.read(ENTRIES[0])


# Kills


@forks
def test_killed_while_saving(tmp_path, counts):
    """A process that is killed at any moment leaves the old file or the new one, and one that is swept later."""
    path, large, rng = tmp_path / "x.skens", counts(1_000_000, 5_000_000), random.Random(0)
    start = time.perf_counter()
    save(path, 1, large)
    longest, seen = 3 * (time.perf_counter() - start), set()
    for kill in range(counts(40, 200)):
        process = os.fork()
        if process == 0:
            try:
                while True:
                    save(path, 2 + kill % 2, large)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        seen.add(version_of(path))
        if len(seen) == 1:  # no save was complete: the machine may be busier by now
            longest *= 1.5
        assert len(leftovers(tmp_path)) <= kill + 1
    assert len(seen) > 1
    assert leftovers(tmp_path)
    old = time.time() - 2 * 3600
    for name in leftovers(tmp_path):
        os.utime(tmp_path / name, (old, old))
    save(path, 9)
    assert leftovers(tmp_path) == []


def test_files_of_living_processes_are_not_swept(tmp_path):
    """What another process writes, however slowly, and files of other names are left alone."""
    names = [f".skensemble-{os.getpid()}-abc.tmp", ".skensemble-x.tmp", "skensemble-1-abc.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, 1))
    save(tmp_path / "x.skens", 1)
    assert sorted(leftovers(tmp_path)) == sorted(names)


def test_files_of_dead_processes_are_swept_when_they_are_as_old_as_is_said(tmp_path):
    """Who knows that nobody else writes into a directory need not wait for an hour."""
    process = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    name = f".skensemble-{process.stdout.strip()}-abc.tmp"
    (tmp_path / name).write_bytes(b"")
    sweep(tmp_path)
    assert leftovers(tmp_path) == [name]
    sweep(tmp_path, seconds=0)
    assert leftovers(tmp_path) == []


@forks
def test_two_processes_save_to_one_path(tmp_path, counts):
    """While two processes save to one path, a third always reads a whole file."""
    path, n_saves, enough = tmp_path / "x.skens", counts(30, 100), tmp_path / "enough"
    save(path, 1)
    writers = []
    for version in (2, 3):
        process = os.fork()
        if process == 0:
            try:
                n_saved = 0
                while n_saved < n_saves or not enough.exists():
                    save(path, version, 100_000)
                    n_saved += 1
            except BaseException:
                os._exit(1)
            os._exit(0)
        writers.append(process)
    n_reads = 0
    while any(os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None for process in writers):
        assert version_of(path) in (1, 2, 3)
        n_reads += 1
        if n_reads == n_saves:  # however busy the machine is
            enough.touch()
    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in writers] == [0, 0]
    assert n_reads >= n_saves
    enough.unlink()
    assert leftovers(tmp_path) == []


def test_directory_is_no_file(tmp_path):
    """A directory at the path is an error, and stays as it was."""
    (tmp_path / "x.skens").mkdir()
    with pytest.raises(OSError):
        save(tmp_path / "x.skens", 1)
    assert (tmp_path / "x.skens").is_dir()
    assert leftovers(tmp_path) == []
