"""What does a reader of a project see? Asked in children of the forker, answered in JSON values."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

from recsys.errors import FeatureError
from recsys.planning.state import APPLY, applied_events, applied_state, open_transactions
from recsys.schema import EVENT_TIMESTAMP, ITEM, LINE, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.catalog import digest
from recsys.workflows.declarations.plan import plan
from recsys.workflows.features.table_records import require_built
from recsys.workflows.workspace import Workspace

VIEWS: Final = ("user_weekly", "item_weekly", "user_item", "user_line", "user_campaign", "user_profile")
PLACES: Final = ("table", "online")


def keep_features(workspace: Workspace, folder: str) -> dict[str, int]:
    """Keep what is in the feature tables and online in a folder, to compare others with; returns how many rows."""
    Path(folder).mkdir()
    kept = {}
    for name in VIEWS:
        for place in PLACES:
            rows = _rows(workspace, place, name)
            feather.write_feather(rows, f"{folder}/{name}.{place}.arrow", compression="uncompressed")
            kept[f"{name}.{place}"] = len(rows)
    return kept


def features(workspace: Workspace, *folders: str) -> dict[str, Any]:
    """Compare all tables and all views online with the kept ones; say what readers are told and what they read.

    Returns:
        same: for each table and each view online, which of the kept ones it equals; strange: how many of a table's rows
        are in none of them; refused: why commands will not read the tables, or nothing; answers: see there.
    """
    same, strange = {}, {}
    for name in VIEWS:
        for place in PLACES:
            rows = _rows(workspace, place, name)
            kept = {folder: feather.read_table(f"{folder}/{name}.{place}.arrow") for folder in folders}
            same[f"{name}.{place}"] = [folder for folder, table in kept.items() if _same(rows, table)]
            strange[f"{name}.{place}"] = 0 if same[f"{name}.{place}"] else _strange(rows, kept.values())
    try:
        require_built(workspace)
        refused = ""
    except FeatureError as error:
        refused = str(error)
    return {"same": same, "strange": strange, "refused": refused, "answers": answers(workspace, joined=not refused)}


def answers(workspace: Workspace, *, joined: bool = True) -> dict[str, int]:
    """Read a user's rows online and, unless told not to, join features: a view in MATERIALIZING blocks neither."""
    reader = workspace.features
    household = reader.online_all("user_weekly")[USER][0].as_py()
    group = reader.online_group("user_item", household)
    at = pa.array([datetime(2017, 11, 27, tzinfo=UTC)], TIMESTAMP)
    row = {USER: [household], ITEM: ["product_1"], LINE: ["1/x"], EVENT_TIMESTAMP: at, REQUEST_TIMESTAMP: at}
    rows = len(reader.historical(pa.table(row), reader.feature_set("basket_frequency"))) if joined else 1
    return {"online": 0 if group is None else len(group), "joined": rows}


def weights_in_service(workspace: Workspace) -> dict[str, Any]:
    """Load what alias logic-v2 names; returns its number and the numbers of all weights of v2."""
    registry = workspace.registry
    served = registry.resolve("basket", "logic-v2")
    return {
        "served": None if served is None else served.number,
        "columns": [] if served is None else list(registry.load(served).columns),
        "v2": [weights.number for weights in registry.search("basket") if weights.version == "v2"],
    }


def clock(workspace: Workspace) -> str:
    """Return where the environment's clock stands."""
    return workspace.clock.now().isoformat()


def applied(workspace: Workspace) -> dict[str, Any]:
    """Return what was applied, by the ledger and by Feast's registry, and what an apply would do now."""
    entries = workspace.ledger.entries()
    return {
        "ledger": digest(applied_state(entries)),
        "feast": digest(workspace.adapters.feature_repository().registered()),
        "subjects": sorted(event.subject for event in applied_events(entries)),
        "open": list(open_transactions(entries)),
        "ends": [entry.state for entry in entries if entry.action == APPLY and entry.state != "intent"],
        "steps": [step.subject for step in plan(workspace).steps],
        "answers": answers(workspace),
    }


def _rows(workspace: Workspace, place: str, name: str) -> pa.Table:
    if place == "online":
        return workspace.features.online_all(name).combine_chunks()
    folder = workspace.feature_tables / name
    return pq.read_table(folder).combine_chunks() if any(folder.glob("*.parquet")) else pa.table({})


def _same(found: pa.Table, kept: pa.Table) -> bool:
    """Compare rows whatever their order; sums of floats differ in the last digits from build to build."""
    if found.schema != kept.schema or len(found) != len(kept):
        return False
    if found.equals(kept):
        return True
    floats = [column.name for column in found.schema if pa.types.is_floating(column.type)]
    exact = [column.name for column in found.schema if column.name not in floats]
    found, kept = (rows.sort_by([(name, "ascending") for name in exact]) for rows in (found, kept))
    return found.select(exact).equals(kept.select(exact)) and all(
        np.allclose(found[name], kept[name], rtol=1e-9, atol=1e-9, equal_nan=True) for name in floats
    )


def _strange(found: pa.Table, kept: Iterable[pa.Table]) -> int:
    """Count the rows that are in none of the tables, by all that is no float."""
    exact = [column.name for column in found.schema if not pa.types.is_floating(column.type)]
    if not exact:
        return 0
    known = pa.concat_tables(table.select(exact) for table in kept)
    with duckdb.connect() as connection:
        connection.register("found", found.select(exact))
        connection.register("known", known)
        return len(connection.sql("from found except all from known").fetchall())
