"""Columns of numbers to one column of JSON text, without a Python object per value."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

Values = dict[tuple[str, ...], np.ndarray | pl.Series]
Tree = dict[str, Any]


def json_column(values: Mapping[tuple[str, ...], np.ndarray | pl.Series]) -> pl.Series:
    """Compact JSON objects, one per row, as a String series.

    `values` maps the path of a value inside the object to its column (all of one length): float64 arrays, NaN
    meaning null, or any series of numbers. Keys keep the mapping's order, every key is present in every row, floats
    are written with the fewest digits that read back as the same float.
    """
    columns = [
        column.alias(str(number))
        if isinstance(column, pl.Series)
        else pl.Series(str(number), column, nan_to_null=True)
        for number, column in enumerate(values.values())
    ]
    tree: Tree = {}
    for number, path in enumerate(values):
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = pl.col(str(number))
    return pl.DataFrame(columns).select(_struct(tree).struct.json_encode()).to_series()


def _struct(tree: Tree) -> pl.Expr:
    """The nested struct whose fields are the tree's keys."""
    fields = (_struct(value) if isinstance(value, dict) else value for value in tree.values())
    return pl.struct(*(field.alias(key) for key, field in zip(tree, fields, strict=True)))
