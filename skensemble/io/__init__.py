"""Fitted estimators to files and back, without pickle."""

from skensemble.io._dump_load import dump, dumps, get_untrusted_types, load, loads
from skensemble.io._errors import (
    FormatError,
    IntegrityError,
    NotRestoredError,
    PersistenceError,
    UnsupportedVersionError,
    UntrustedTypesFoundError,
)
from skensemble.io._inspect import FileSummary, inspect, verify

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
