"""The command line: what is in a file that `skensemble.io` wrote, and whether it is whole."""

import argparse
import sys

from skensemble.io import PersistenceError, inspect, verify


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str, default=None
        None means those of the process.

    Returns
    -------
    int
        0, or 1 where the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m skensemble", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (("inspect", "print what is in a file"), ("verify", "tell whether a file is whole")):
        commands.add_parser(name, help=help_text).add_argument("file")
    options = parser.parse_args(arguments)
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


if __name__ == "__main__":
    sys.exit(main())
