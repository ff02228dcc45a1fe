"""Does anything that happens later change what was known before?"""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.candidates.pool import to_numpy
from recsys.modeling.labels import positives
from recsys.modeling.requests import Sampling, build_requests
from recsys.schema import CREATED_TIMESTAMP, EVENT_TABLE, EVENT_TIMESTAMP, ITEM, USER
from recsys.wiring import open_workspace
from recsys.workflows.features.build import build_tables
from recsys.workflows.workspace import Workspace

KEYS = {
    "user_weekly": [USER],
    "item_weekly": [ITEM],
    "user_item": [USER, ITEM],
    "user_line": [USER, "line_id"],
    "user_campaign": [USER],
    "user_profile": [USER],
}
KNOWN = datetime(2017, 11, 27, tzinfo=UTC)
LATER = datetime(2017, 11, 28, 10, tzinfo=UTC)
DECISIONS = (datetime(2017, 11, 13, tzinfo=UTC), datetime(2017, 11, 20, tzinfo=UTC))


@pytest.fixture(scope="module")
def planted(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same shop, with a burst of purchases a day after `KNOWN`."""
    project = tmp_path_factory.mktemp("planted")
    for name in ("registry", "feature_repo"):
        shutil.copytree(shop.root / name, project / name)
    shutil.copytree(shop.tables, project / ".recsys/tables")
    shutil.copy(shop.state / "registry.db", project / ".recsys/registry.db")
    workspace = open_workspace("local", project)
    events = pq.read_table(workspace.events).cast(EVENT_TABLE)
    users = pc.unique(events[USER]).to_pylist()[:40]
    items = pc.unique(pc.drop_null(events[ITEM])).to_pylist()[:25]
    extra = [_purchase(user, item) for user in users for item in items]
    pq.write_table(pa.concat_tables([events, pa.Table.from_pylist(extra, EVENT_TABLE)]), workspace.events)
    build_tables(workspace)
    return workspace


def test_no_feature_of_an_earlier_week_changes(shop: Workspace, planted: Workspace) -> None:
    for name, keys in KEYS.items():
        before = shop.features.snapshot(name, KNOWN)
        after = planted.features.snapshot(name, KNOWN)
        order = [(key, "ascending") for key in keys]
        assert len(before) > 50
        _same(before.sort_by(order), after.sort_by(order), name)


def test_the_planted_purchases_do_change_later_weeks(shop: Workspace, planted: Workspace) -> None:
    later = datetime(2017, 12, 4, tzinfo=UTC)
    assert len(planted.features.snapshot("user_item", later)) > len(shop.features.snapshot("user_item", later))


def test_no_label_and_no_candidate_of_an_earlier_week_changes(shop: Workspace, planted: Workspace) -> None:
    target = shop.catalog.problem("weekly_basket").target
    placement = shop.catalog.placement("home")
    made = []
    for workspace in (shop, planted):
        taken = positives(workspace.engine, workspace.events, target, DECISIONS, KNOWN)
        made.append(build_requests(workspace.moments, placement, taken, DECISIONS, Sampling(10, seed=1), ["line_id"]))
    assert made[0].rows.equals(made[1].rows)
    assert made[0].relevant.tolist() == made[1].relevant.tolist()


def test_no_training_row_of_an_earlier_week_changes(shop: Workspace, planted: Workspace) -> None:
    target = shop.catalog.problem("weekly_basket").target
    taken = positives(shop.engine, shop.events, target, DECISIONS, KNOWN)
    placement = shop.catalog.placement("home")
    requests = build_requests(shop.moments, placement, taken, DECISIONS, Sampling(10, seed=1), ["line_id"])
    wanted = shop.features.feature_set("basket_full")
    before, after = (workspace.features.historical(requests.rows, wanted) for workspace in (shop, planted))
    _same(before, after, "training rows")


def test_no_list_of_an_earlier_week_changes(shop: Workspace, planted: Workspace, tmp_path: Path) -> None:
    lists = []
    for number, workspace in enumerate((shop, planted)):
        features = workspace.adapters.features(tmp_path / str(number))
        features.materialize(KNOWN)
        lists.append(_lists(shop, features))
    assert lists[0] == lists[1]


def _lists(shop: Workspace, features: object) -> list[list[str]]:
    from recsys.workflows.serving.resolvers import FixedClock, resolver_for

    resolver = resolver_for(shop, "home", features, FixedClock(KNOWN), {})  # type: ignore[arg-type]
    resolver.refresh()
    users = pq.read_table(shop.tables / "users.parquet", columns=[USER])[USER].to_pylist()[:40]
    return [[item.item_id for item in resolver.recommend(user).exposure.items] for user in users]


def _purchase(user: str, item: str) -> dict[str, object]:
    return {
        "event_id": f"planted-{user}-{item}",
        "event_type": "purchase",
        USER: user,
        ITEM: item,
        "session_id": f"planted-{user}",
        "quantity": 9.0,
        "value": 90.0,
        EVENT_TIMESTAMP: LATER,
        CREATED_TIMESTAMP: LATER,
    }


def _same(before: pa.Table, after: pa.Table, name: str) -> None:
    """Compare; fractions up to the order in which DuckDB's threads add them."""
    assert before.schema == after.schema
    assert len(before) == len(after)
    for column in before.column_names:
        left, right = to_numpy(before[column]), to_numpy(after[column])
        if left.dtype == np.float64:
            np.testing.assert_allclose(left, right, rtol=1e-12, err_msg=f"{name}.{column}")
        else:
            np.testing.assert_array_equal(left, right, err_msg=f"{name}.{column}")
