"""Do Feast's duckdb store and polars give the same rows as the ASOF store, where their rules agree?"""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from tests.adapters.asof_world import (
    ENTITIES,
    HISTORIES,
    REFERENCES,
    START,
    VIEWS,
    ZONES,
    Asked,
    Repository,
    Row,
    entity_rows,
    history,
)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # by Feast, through ibis
@pytest.mark.parametrize("count", [200, 5_000])
def test_join_agrees_with_feast(repository: Repository, count: int) -> None:
    rng = np.random.default_rng(count)
    known = pa.table(
        {
            "user_id": rng.choice(list("abcdefgh"), 3_000),
            "item_id": rng.choice(list("stuvwxyz"), 3_000),
            "event": pa.array(START + timedelta(minutes=float(m)) for m in rng.permutation(3_000)),
            "value": np.arange(3_000),
        }
    )
    late = [
        t + timedelta(minutes=float(m))
        for t, m in zip(known.column("event").to_pylist(), rng.integers(0, 600, 3_000), strict=True)
    ]
    repository.write(known.append_column("created", pa.array(late)))
    entities = pd.DataFrame(
        {
            "user_id": rng.choice(list("abcdefghi"), count),
            "item_id": rng.choice(list("stuvwxyz"), count),
            "event_timestamp": [START + timedelta(minutes=float(m)) for m in rng.integers(0, 3_300, count)],
            "row": np.arange(count),
        }
    )
    ours = repository.asof.get_historical_features(entities, REFERENCES).to_df()
    feast = repository.duckdb.get_historical_features(entities, REFERENCES, filter_by_created_timestamp=True).to_df()
    feast = feast.sort_values("row").reset_index(drop=True)[list(ours.columns)]
    pd.testing.assert_frame_equal(ours, feast, check_dtype=False)


def polars_join(asked: list[Asked], rows: list[Row], keys: tuple[str, ...], ttl: float, known: bool) -> list[Any]:
    """The value for each asked row, by polars' join_asof over what was the newest event known at each moment."""
    schema = {"user_id": pl.String, "item_id": pl.String, "event": pl.Float64, "created": pl.Float64, "value": pl.Int64}
    clock = pl.max_horizontal("event", "created") if known else pl.col("event")
    created = pl.col("created") if known else pl.lit(0.0)
    newest = (
        pl.DataFrame([vars(row) for row in rows], schema)
        .drop_nulls([*keys, "event", *(["created"] if known else [])])
        .with_columns(clock=clock, order=pl.struct("event", created))
        .sort("clock", "order", "value")
        .filter(pl.col("event") >= pl.col("event").cum_max().over(keys))
        .select(*keys, "clock", "event", "value")
    )
    asked_at = pl.DataFrame(
        {
            "row": range(len(asked)),
            **{key: pl.Series([getattr(a, key) for a in asked], dtype=pl.String) for key in keys},
            "at": pl.Series([a.at for a in asked], dtype=pl.Float64),
        }
    )
    found = (
        asked_at.drop_nulls()
        .sort("at")
        .join_asof(newest, left_on="at", right_on="clock", by=list(keys), check_sortedness=False)
        .filter(pl.col("event") >= pl.col("at") - ttl if ttl else True)
    )
    return asked_at.join(found.select("row", "value"), on="row", how="left").sort("row").get_column("value").to_list()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, asked=ENTITIES)
def test_join_agrees_with_polars(repository: Repository, rows: list[Row], asked: list[Asked]) -> None:
    repository.write(history(rows))
    result = repository.asof.get_historical_features(entity_rows(asked), REFERENCES).to_arrow()
    for name, (keys, ttl, known) in VIEWS.items():
        assert result.column(f"{name}_value").to_pylist() == polars_join(asked, rows, keys, ttl, known), name


def unlike(rows: list[Row]) -> list[Row]:
    """Rows without two of one user and equal clocks, of which Feast may return either."""
    return list({(row.user_id, row.event, row.created): row for row in rows}.values())


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # by Feast, through ibis
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES.map(unlike), asked=ENTITIES.filter(bool), source_zone=ZONES, entity_zone=ZONES)
def test_generated_histories_agree_with_feast(
    repository: Repository, rows: list[Row], asked: list[Asked], source_zone: str | None, entity_zone: str | None
) -> None:
    repository.write(history(rows, source_zone))
    entities = entity_rows(asked, entity_zone).to_pandas()
    references = [f"{name}:{name}_value" for name, (_, _, known) in VIEWS.items() if known]
    ours = repository.asof.get_historical_features(entities.copy(), references).to_arrow()
    job = repository.duckdb.get_historical_features(entities.copy(), references, filter_by_created_timestamp=True)
    feast = job.to_arrow().sort_by("label")
    assert feast.column("label").to_pylist() == ours.column("label").to_pylist()
    for name in (reference.partition(":")[2] for reference in references):
        assert ours.column(name).to_pylist() == feast.column(name).to_pylist(), name
