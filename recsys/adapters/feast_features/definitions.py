"""What do Feast's definitions mean to the core, and when do two of them mean the same?"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.adapters.declared_logic import normalized, transform_source
from recsys.errors import FeatureError
from recsys.ports import RequestTransform, ViewInfo
from recsys.schema import REQUEST_TIMESTAMP
from recsys.specs.catalog import digest

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView


def digest_of(
    module: Path,
    references: Sequence[str],
    views: "dict[str, FeatureView]",
    transforms: "dict[str, OnDemandFeatureView]",
) -> str:
    """Digest what the columns mean: definitions, transforms of the tables, and request-time code."""
    return digest(
        {
            "columns": list(references),
            "views": {
                name: {
                    "join_keys": list(describe(view).join_keys),
                    "ttl_s": (view.ttl or timedelta(0)).total_seconds(),
                    "features": [[field.name, str(field.dtype)] for field in view.features],
                    "transform": transform_source(module, name),
                }
                for name, view in views.items()
            },
            "request_time": {
                name: {
                    "code": normalized(_source(view)),
                    "inputs": sorted(request_transform(view).inputs),  # Feast keeps sources in no order
                    "outputs": [[field.name, str(field.dtype)] for field in view.features],
                    **_context_kinds(request_transform(view)),
                }
                for name, view in transforms.items()
            },
        }
    )


def describe(view: "FeatureView") -> ViewInfo:
    """Describe a stored view."""
    return ViewInfo(
        name=view.name,
        join_keys=tuple(column.name for column in view.entity_columns) or tuple(view.entities),
        features=tuple(field.name for field in view.features),
        kinds={field.name: _kind(str(field.dtype)) for field in view.features},
        ttl=view.ttl or None,
    )


def _kind(dtype: str) -> str:
    if "String" in dtype or "STRING" in dtype:
        return "text"
    return "time" if "TIMESTAMP" in dtype.upper() else "number"


def request_transform(view: "OnDemandFeatureView") -> RequestTransform:
    """Describe an on-demand view.

    Raises:
        FeatureError: it is not a Python function over columns.
    """
    transformation = view.feature_transformation
    if str(view.mode) != "python" or transformation is None:
        message = (
            f"on-demand view {view.name}: mode {view.mode}; requests are answered by mode='python' functions"
            f" over columns"
        )
        raise FeatureError(message)
    inputs = [
        field.name for projection in view.source_feature_view_projections.values() for field in projection.features
    ]
    kinds = {
        field.name: _kind(str(field.dtype))
        for source in view.source_request_sources.values()
        for field in source.schema
    }
    return RequestTransform(
        name=view.name,
        inputs=(*inputs, *kinds),
        outputs=tuple(field.name for field in view.features),
        function=transformation.udf,
        kinds=kinds,
    )


def _context_kinds(transform: RequestTransform) -> dict[str, dict[str, str]]:
    """Return the kinds of what callers say; scores are numbers, so of those nothing has to be told."""
    told = {name: kind for name, kind in transform.kinds.items() if kind != "number" and name != REQUEST_TIMESTAMP}
    return {"kinds": told} if told else {}


def _source(view: "OnDemandFeatureView") -> str:
    return getattr(view.feature_transformation, "udf_string", "") or ""
