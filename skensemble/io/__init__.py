"""Fitted estimators to files and back, without pickle."""

from skensemble.io._errors import (
    FormatError,
    IntegrityError,
    NotRestoredError,
    PersistenceError,
    UnsupportedVersionError,
    UntrustedTypesFoundError,
)

__all__ = [
    "FormatError",
    "IntegrityError",
    "NotRestoredError",
    "PersistenceError",
    "UnsupportedVersionError",
    "UntrustedTypesFoundError",
]
