"""The command line: versions, what is in a file of `skensemble.io`, and whether the file is undamaged."""

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import skensemble
from skensemble.io import PersistenceError, inspect, verify
from skensemble.io._versions import versions

#: Packages that Keras computes with.
_BACKENDS = ("tensorflow", "jax", "torch")


def main(arguments=None):
    """Run a command; without one, print the versions, for a problem report, and the commands.

    Parameters
    ----------
    arguments : list of str, default=None
        None means the arguments of the process.

    Returns
    -------
    int
        0, or 1 where the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m skensemble", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=False)
    for name, help_text in (("inspect", "print what is in a file"), ("verify", "say whether a file is undamaged")):
        commands.add_parser(name, help=help_text).add_argument("file")
    options = parser.parse_args(arguments)
    if options.command is None:
        print(*_report(), sep="\n", end="\n\n")
        parser.print_help()
        return 0
    try:
        if options.command == "inspect":
            print(inspect(options.file))
        else:
            verify(options.file)
            print(f"{options.file}: whole")
    except (PersistenceError, OSError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    return 0


def _report():
    """Yield the lines of the report: versions and backends. Imports neither Keras nor a backend."""
    found = versions() | {"skensemble": skensemble.__version__}  # also where it is not installed but on the path
    yield from (f"{name} {version or '(not installed)'}" for name, version in found.items())
    yield f"Python {platform.python_version()}, {platform.platform()}"
    yield f"Keras' backend: {_keras_backend()}; installed: {', '.join(_installed_backends()) or 'none'}"


def _keras_backend():
    """Name of the backend that Keras will use, from where Keras reads it: the environment, then its settings file."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(settings.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):  # Keras ignores a file that it cannot read, too
        return "tensorflow"


def _installed_backends():
    for name in _BACKENDS:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


if __name__ == "__main__":
    sys.exit(main())
