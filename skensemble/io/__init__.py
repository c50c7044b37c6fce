"""Fitted estimators to files and back, without pickle."""

from skensemble.io._errors import (
    FormatError,
    IntegrityError,
    NotRestoredError,
    PersistenceError,
    UnsupportedVersionError,
    UntrustedTypesFoundError,
)
from skensemble.io._inspect import FileSummary, inspect, verify
from skensemble.io._persist import dump, dumps, get_untrusted_types, load, loads

__all__ = [
    "FileSummary",
    "FormatError",
    "IntegrityError",
    "NotRestoredError",
    "PersistenceError",
    "UnsupportedVersionError",
    "UntrustedTypesFoundError",
    "dump",
    "dumps",
    "get_untrusted_types",
    "inspect",
    "load",
    "loads",
    "verify",
]
