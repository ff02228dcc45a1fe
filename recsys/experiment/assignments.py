"""What does everybody in a list of ids get? A row a unit, with what decided it."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.experiment.routing import Router

BUCKET: Final = "bucket"
ARM: Final = "arm"
MODEL_VERSION: Final = "model_version"
OVERRIDDEN: Final = "overridden"
LAYER_BUCKET: Final = "layer_bucket"
HOLDOUT: Final = "holdout"


def assignment_schema(column: str) -> pa.Schema:
    """Return the columns of assigned units.

    Args:
        column: what the unit's column is called.

    Returns:
        The unit; `bucket` by the experiment's seed; `arm` and `model_version`, null for default traffic; `overridden`
        where an override chose the arm; `layer_bucket` by the layer's seed, null where the experiment is in no layer;
        `holdout` where the unit is in that layer's.
    """
    return pa.schema(
        [
            (column, pa.string()),
            (BUCKET, pa.int16()),
            (ARM, pa.string()),
            (MODEL_VERSION, pa.string()),
            (OVERRIDDEN, pa.bool_()),
            (LAYER_BUCKET, pa.int16()),
            (HOLDOUT, pa.bool_()),
        ]
    )


def assignments(router: Router, units: pa.Array, columns: pa.Schema) -> pa.RecordBatch:
    """Assign some units; it is not asked whether the time is right.

    Args:
        router: of the experiment.
        units: ids as Arrow text, without nulls.
        columns: of `assignment_schema`.

    Returns:
        One row a unit, in their order.

    Raises:
        ExperimentError: if a unit is null or not text.
    """
    positions = router.positions(units)
    arms = router.route_many(units, positions=positions)
    names = pa.array(router.experiment.arms, pa.string())
    versions = pa.array([arm.model_version for arm in router.experiment.arms.values()], pa.string())
    in_layer = pa.nulls(len(units), pa.int16())
    if positions.layer_bucket is not None:
        in_layer = pa.array(positions.layer_bucket.astype(np.int16))
    values = [
        units.cast(pa.string()),
        pa.array(positions.bucket.astype(np.int16)),
        arms,
        versions.take(pc.index_in(arms, value_set=names)),
        pa.array(router.overridden(units)),
        in_layer,
        pa.array(router.held_out(positions)),
    ]
    return pa.RecordBatch.from_arrays(values, schema=columns)
