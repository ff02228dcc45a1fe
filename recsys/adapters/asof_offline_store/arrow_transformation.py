"""How does a python-mode on-demand view run on millions of rows?

Feast hands such a function Python lists, one object a cell. Ours are written to accept numpy
arrays, so this transformation hands them the Arrow columns as arrays and takes arrays back.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
from feast.field import Field
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.transformation.python_transformation import PythonTransformation
from feast.types import from_feast_to_pyarrow_type

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError


def with_arrays(view: OnDemandFeatureView, entity_columns: frozenset[str]) -> OnDemandFeatureView:
    """The view itself, or a copy that runs on arrays if its mode is python.

    Args:
        view: a view of the registry; never changed.
        entity_columns: columns of the entity table. The function sees these and its declared
            sources, and no feature of another view: the same as online.
    """
    transformation = view.feature_transformation
    if not isinstance(transformation, PythonTransformation) or view.singleton:
        return view
    declared = {
        name
        for projection in view.source_feature_view_projections.values()
        for feature in projection.features
        for name in (feature.name, f"{projection.name}__{feature.name}")
    }
    result = copy.copy(view)
    result.feature_transformation = ArrowTransformation(view.name, transformation, declared | entity_columns)
    return result


class ArrowTransformation(PythonTransformation):
    """A python-mode transformation whose function is given numpy arrays."""

    def __new__(cls, view: str, inner: PythonTransformation, visible: set[str]) -> Self:
        """Build through Feast's own constructor, which insists on its arguments."""
        del view, visible
        return cast("Self", super().__new__(cls, _function(inner), inner.udf_string))

    def __init__(self, view: str, inner: PythonTransformation, visible: set[str]) -> None:
        """Wrap `inner` of on-demand view `view`, whose function may read the columns `visible`."""
        super().__init__(_function(inner), inner.udf_string, name=inner.name)
        self._view = view
        self._visible = visible

    def transform_arrow(self, pa_table: pa.Table, features: list[Field]) -> pa.Table:
        """Run the function over the whole table.

        Returns:
            The declared features as columns of their declared types; NaN becomes null, as it does
            online.

        Raises:
            FeatureError: the function returned no column for a declared feature, or one of another
                length.
        """
        function: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]] = self.udf
        outputs = function(ArrayColumns(pa_table, self._visible))
        columns = {}
        for feature in features:
            if feature.name not in outputs:
                message = (
                    f"on-demand view {self._view!r}: its function returned {sorted(outputs)} "
                    "without the "
                    f"declared feature {feature.name!r}: return every feature of the schema"
                )
                raise FeatureError(message)
            columns[feature.name] = self._column(feature, outputs[feature.name], pa_table.num_rows)
        return pa.table(columns)

    def _column(self, feature: Field, values: Any, rows: int) -> pa.Array:  # noqa: ANN401
        if len(values) != rows:
            message = (
                f"on-demand view {self._view!r}: feature {feature.name!r} has {len(values)} "
                f"values for {rows} "
                "rows: the function must return one value a row"
            )
            raise FeatureError(message)
        column = pa.array(values, from_pandas=True)
        try:
            declared = from_feast_to_pyarrow_type(feature.dtype)
        except ValueError:  # Feast knows no Arrow type for it (bytes, some sets)
            return column
        return column if column.type == declared else column.cast(declared, safe=False)


class ArrayColumns(Mapping[str, np.ndarray]):
    """Columns of a table as arrays, converted when first read."""

    def __init__(self, table: pa.Table, visible: set[str]) -> None:
        """Show the columns of `table` that are in `visible`."""
        # Two views may share a short name; Feast's dict keeps the last one and so do we.
        self._index = {n: i for i, n in enumerate(table.column_names) if n in visible}
        self._table = table
        self._arrays: dict[int, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """The column as an array."""
        index = self._index[name]
        if index not in self._arrays:
            self._arrays[index] = as_array(self._table.column(index))
        return self._arrays[index]

    def __iter__(self) -> Iterator[str]:
        """Names of the columns."""
        return iter(self._index)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self._index)


def as_array(column: pa.ChunkedArray) -> np.ndarray:
    """One column as numpy, as a request has it: what is unknown is NaN, NaT or 'unknown'; other kinds as Arrow says."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    elif not _plain(kind):
        array: np.ndarray = column.to_numpy()
        return array
    return to_numpy(column)


def _plain(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _function(transformation: PythonTransformation) -> FunctionType:
    return cast("FunctionType", transformation.udf)  # to mypy it is a method, being a class's attribute
