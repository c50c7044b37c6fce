"""Columns of a table as arrays, and their kinds: numbers, dates, or categories."""

import numbers

import numpy as np

# Booleans and durations are numbers. Columns without values carry no information.
NUMBER, DATE, CATEGORY, EMPTY = "numbers", "dates", "categories", "no values"
_ONE_DAY = np.timedelta64(1, "D")


def column_of(X, i):
    """A column of an array, or of a table of pandas or polars."""
    if hasattr(X, "iloc"):
        return X.iloc[:, i]
    return X.get_column(X.columns[i]) if hasattr(X, "get_column") else X[:, i]


class _Days(np.ndarray):
    """Dates as days since 1970, floats; the type distinguishes them from numbers."""


def values_of(column, name):
    """Values of a column: floats with NaN, dates as `_Days`, and others as objects with None for missing ones."""
    kind = getattr(column.dtype, "kind", "O")
    is_categorical = hasattr(column.dtype, "categories")
    if kind in "biuf" and hasattr(column, "iloc"):
        return column.to_numpy(dtype=float, na_value=np.nan)
    if kind == "M" and hasattr(column, "iloc"):
        column = column.to_numpy(dtype="datetime64[us]")  # in UTC, if there is a time zone
    if hasattr(column.dtype, "is_numeric") and column.dtype.is_numeric():  # polars; NumPy lacks some of its types
        return column.cast(float).to_numpy()
    values = column if isinstance(column, np.ndarray) else column.to_numpy()
    # A polars struct becomes an array of two dimensions.
    kind = "O" if is_categorical else "V" if values.ndim > 1 else values.dtype.kind
    if kind in "biuf":
        return values.astype(float)
    if kind == "m":
        return values / _ONE_DAY
    if kind == "M":
        return ((values - np.datetime64(0, "D")) / _ONE_DAY).view(_Days)
    if kind not in "OUST":
        raise TypeError(
            f"The column {name!r} must hold numbers, categories, booleans or dates: got the type {column.dtype}."
        )
    return _values_of_objects(values.astype(object), name, is_categorical)


def _values_of_objects(values, name, is_categorical):
    values = np.fromiter((None if _is_missing(value) else value for value in values), dtype=object, count=len(values))
    types = {type(value) for value in values if value is not None}
    if is_categorical or not types or types <= {str, np.str_}:
        return values
    if all(issubclass(one, numbers.Real | np.bool_) for one in types):
        return np.array([np.nan if value is None else float(value) for value in values])
    if all(hasattr(one, "toordinal") for one in types):  # datetime, date, pandas' Timestamp
        return values_of(values.astype("datetime64[us]"), name)
    raise TypeError(
        f"A column must hold values of one kind, and the argument must be a string or number, a boolean or a date: the "
        f"column {name!r} has values of {', '.join(sorted(one.__name__ for one in types))}. Give it one type, such as "
        "`X[column].astype(str)`."
    )


def _is_missing(value):
    """Whether a value is None, NaN, or the missing value of pandas, whose comparisons are neither true nor false."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def kind_of(values, name):
    """Kind of a column, whose values are as `values_of` returns them."""
    if values.dtype == object:
        return EMPTY if all(value is None for value in values) else CATEGORY
    if np.isinf(values).any():
        raise ValueError(f"The column {name!r} must hold finite numbers: it contains infinity.")
    if np.isnan(values).all():
        return EMPTY
    return DATE if isinstance(values, _Days) else NUMBER
