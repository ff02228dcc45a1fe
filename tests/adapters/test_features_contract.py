"""Do the fake and Feast give the same features, in the past and online?"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.adapters.feast_features import DeclaredFeatures, FeastFeatures
from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import FeatureReader, RequestTransform, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, TIMESTAMP, USER
from tests.fakes.features import FakeFeatures

START = datetime(2024, 1, 1, tzinfo=UTC)
TICK = 1 / 86_400
RESTATED = 6
"""The day on which a row is restated and nothing new happens."""

# ---------------------------------------------------------------- one shop, declared twice

FEATURE_STORE = """
project: contract
provider: local
registry: {path: registry.db, cache_ttl_seconds: 60}
offline_store: {type: recsys.adapters.asof_offline_store.AsofOfflineStore, threads: 2}
online_store: {type: recsys.adapters.packed_online_store.PackedSqliteOnlineStore, path: online.db}
batch_engine: {type: recsys.adapters.arrow_batch_engine.ArrowBatchEngine}
materialization: {pull_latest_features: true}
entity_key_serialization_version: 3
"""

DEFINITIONS = '''
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def _view(name, entities, ttl, **features):
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=[Field(name=feature, dtype=dtype) for feature, dtype in features.items()],
        source=FileSource(
            name=f"{name}_source",
            path=f"data/{name}.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )


pair = _view("pair", [user, item], timedelta(days=10), times=Float64, last=UnixTimestamp)
item_stats = _view("item_stats", [item], timedelta(days=7), sales=Float64, brand=String)
user_stats = _view("user_stats", [user], timedelta(0), visits=Int64, city=String)
unsold = _view("unsold", [item], timedelta(days=1), shelf=Float64)
request = RequestSource(name="request", schema=[Field(name="request_timestamp", dtype=UnixTimestamp)])


@on_demand_feature_view(
    sources=[pair, request], schema=[Field(name="days_since", dtype=Float64)], mode="python"
)
def recency(inputs):
    """Days since the last time; a comment and a docstring are no logic."""
    import numpy as np

    def seconds(name):
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            return np.where(np.isnat(values), np.nan, values.astype("datetime64[us]").astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    days = (seconds("request_timestamp") - seconds("last")) / 86_400
    return {"days_since": days.tolist() if isinstance(inputs["request_timestamp"], list) else days}


ranker = FeatureService(
    name="ranker", features=[user_stats, item_stats[["sales", "brand"]], pair[["times"]], recency]
)
'''

TRANSFORMS = """
def _table(events, items):
    return events


TABLES = {"pair": _table, "item_stats": _table, "user_stats": _table, "unsold": _table}
"""

VIEWS = (
    ViewInfo("pair", (USER, ITEM), ("times", "last"), {"times": "number", "last": "time"}, timedelta(days=10)),
    ViewInfo("item_stats", (ITEM,), ("sales", "brand"), {"sales": "number", "brand": "text"}, timedelta(days=7)),
    ViewInfo("user_stats", (USER,), ("visits", "city"), {"visits": "number", "city": "text"}, None),
    ViewInfo("unsold", (ITEM,), ("shelf",), {"shelf": "number"}, timedelta(days=1)),
)
SERVICE = (
    "user_stats:visits",
    "user_stats:city",
    "item_stats:sales",
    "item_stats:brand",
    "pair:times",
    "recency:days_since",
)


def recency(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do what the repository's function of this name does, over arrays."""
    return {"days_since": (inputs[REQUEST_TIMESTAMP] - inputs["last"]) / np.timedelta64(86_400_000_000, "us")}


RECENCY = RequestTransform("recency", ("times", "last", REQUEST_TIMESTAMP), ("days_since",), recency)


def day(number: float) -> datetime:
    """Return a moment of the tests' small world."""
    return START + timedelta(days=number)


def rows(types: Mapping[str, pa.DataType], *values: tuple[Any, ...]) -> pa.Table:
    """Make a feature table: its columns, then the days of event and creation."""
    names = [*types, EVENT_TIMESTAMP, CREATED_TIMESTAMP]
    clocked = [(*row[:-2], day(row[-2]), day(row[-1])) for row in values]
    fields = [*types.items(), (EVENT_TIMESTAMP, TIMESTAMP), (CREATED_TIMESTAMP, TIMESTAMP)]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in clocked], schema=pa.schema(fields))


TABLES = {
    "pair": rows(
        {USER: pa.string(), ITEM: pa.string(), "times": pa.float64(), "last": TIMESTAMP},
        ("u1", "i1", 1.0, day(1), 1, 1),
        ("u1", "i1", 3.0, day(5), 5, 6),  # restates the next one
        ("u1", "i1", 2.0, day(4), 5, 5),
        ("u1", "i1", 9.0, day(8), 8, 12),  # becomes known late
        ("u1", "i2", 4.0, day(2), 2, 2),
        ("u2", "i1", None, None, 3, 3),
        ("u3", "i1", 7.0, day(0), 0, 14),  # past its TTL when it becomes known
        ("u4", "i1", 8.0, day(30), 30, 30),
    ),
    "item_stats": rows(
        {ITEM: pa.string(), "sales": pa.float64(), "brand": pa.string()},
        ("i1", 10.0, "acme", 0, 0),
        ("i1", 11.0, "acme", 7, 7),
        ("i2", 20.0, None, 2, 2),
        ("i3", 30.0, "best", 14, 14),
    ),
    "user_stats": rows(
        {USER: pa.string(), "visits": pa.int64(), "city": pa.string()},
        ("u1", 1, "Łódź", 0, 0),
        ("u1", 2, "Łódź", 6, 6),
        ("u2", 5, None, 1, 1),
    ),
    "unsold": rows({ITEM: pa.string(), "shelf": pa.float64()}, ("i9", 1.0, 300, 300)),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the shop's Feast repository and apply it, once for all tests."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    folder = tmp_path_factory.mktemp("repository")
    (folder / "data").mkdir()
    for name, table in TABLES.items():
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    texts = {
        "feature_store.yaml": FEATURE_STORE,
        "contract_definitions.py": DEFINITIONS,
        "transforms.py": TRANSFORMS,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    with contextlib.chdir(folder), imports_of(folder), contextlib.redirect_stdout(io.StringIO()):
        apply_total(load_repo_config(folder, folder / "feature_store.yaml"), folder, skip_source_validation=False)
    return folder


@contextlib.contextmanager
def imports_of(folder: Path) -> Iterator[None]:
    """Let a repository's files import one another, and forget them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.fixture(params=["fake", "feast"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureReader:
    """Give a reader of each kind whose online store is empty."""
    if request.param == "fake":
        return FakeFeatures(VIEWS, TABLES, {"ranker": SERVICE}, [RECENCY])
    folder: Path = request.getfixturevalue("repository")
    return FeastFeatures(folder, "feature_store.yaml", namespace=tmp_path / "online")


# ---------------------------------------------------------------- definitions


class TestDefinitions:
    """What the core has to know of views and services."""

    @pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
    def test_a_view_is_described(self, reader: FeatureReader, view: ViewInfo) -> None:
        """With join keys in the order of its entities, kinds of features and TTL."""
        assert reader.view(view.name) == view

    def test_a_service_is_resolved(self, reader: FeatureReader) -> None:
        """To its columns in order, the views behind them, and the transform."""
        features = reader.feature_set("ranker")
        assert features.name == "ranker"
        assert features.references == SERVICE
        assert features.columns == ("visits", "city", "sales", "brand", "times", "days_since")
        assert {view.name for view in features.views} == {"pair", "item_stats", "user_stats"}
        (transform,) = features.transforms
        assert set(transform.inputs) == set(RECENCY.inputs)
        assert transform.outputs == ("days_since",)
        assert features.digest

    def test_a_transform_brings_the_views_that_it_reads(self, reader: FeatureReader) -> None:
        """Though none of their features is asked for."""
        features = reader.feature_set(["recency:days_since"])
        assert features.columns == ("days_since",)
        assert [view.name for view in features.views] == ["pair"]

    def test_digests_differ_by_what_is_asked(self, reader: FeatureReader) -> None:
        """And agree when the same is asked twice."""
        asked = [["pair:times"], ["pair:last"], ["pair:times", "recency:days_since"]]
        digests = [reader.feature_set(references).digest for references in asked]
        assert len(set(digests)) == 3
        assert [reader.feature_set(references).digest for references in asked] == digests

    @pytest.mark.parametrize(
        "ask",
        [
            lambda reader: reader.view("nobody"),
            lambda reader: reader.view("recency"),
            lambda reader: reader.feature_set("nobody"),
            lambda reader: reader.feature_set(["nobody:times"]),
            lambda reader: reader.feature_set(["pair:nothing"]),
            lambda reader: reader.feature_set(["pair"]),
            lambda reader: reader.snapshot("nobody", day(1)),
            lambda reader: reader.online_group("nobody", "u1"),
            lambda reader: reader.online_all("nobody"),
            lambda reader: reader.watermark("nobody"),
        ],
    )
    def test_unknown_names_are_refused(self, reader: FeatureReader, ask: Callable[[FeatureReader], object]) -> None:
        """By name."""
        with pytest.raises(FeatureError, match=r"nobody|recency|nothing|'pair'"):
            ask(reader)


# ---------------------------------------------------------------- offline


def entities(*asked: tuple[str | None, str | None, float | None]) -> pa.Table:
    """Make entity rows of users, items and days, which ask at the time of their request."""
    stamps = pa.array([None if at is None else day(at) for _, _, at in asked], TIMESTAMP)
    return pa.table(
        {
            "position": pa.array(range(len(asked)), pa.int64()),
            USER: pa.array([user for user, _, _ in asked], pa.string()),
            ITEM: pa.array([item for _, item, _ in asked], pa.string()),
            EVENT_TIMESTAMP: stamps,
            REQUEST_TIMESTAMP: stamps,
        }
    )


def times_of(reader: FeatureReader, user: str | None, item: str | None, at: float | None) -> float | None:
    """Return `pair:times` of one entity row."""
    joined = reader.historical(entities((user, item, at)), reader.feature_set(["pair:times"]))
    (value,) = to_numpy(joined["times"])
    return None if np.isnan(value) else float(value)


class TestHistorical:
    """As known at each row's time."""

    @pytest.mark.parametrize(
        ("user", "item", "at", "expected"),
        [
            ("u1", "i1", 1 - TICK, None),
            ("u1", "i1", 1, 1.0),  # known from its own moment on
            ("u1", "i1", 5, 2.0),
            ("u1", "i1", 6 - TICK, 2.0),
            ("u1", "i1", 6, 3.0),  # of one event the newest created
            ("u1", "i1", 12 - TICK, 3.0),
            ("u1", "i1", 12, 9.0),  # known late
            ("u1", "i1", 18, 9.0),  # the TTL counts from the event
            ("u1", "i1", 18 + TICK, None),
            ("u1", "i2", 12, 4.0),
            ("u1", "i2", 12 + TICK, None),
            ("u3", "i1", 15, None),  # known when its TTL was over
            ("u2", "i1", 4, None),  # there, and null
            ("u9", "i1", 5, None),
            (None, "i1", 5, None),
            ("u1", None, 5, None),
            ("u1", "i1", None, None),
        ],
    )
    def test_the_newest_row_known_by_then_counts(
        self, reader: FeatureReader, user: str | None, item: str | None, at: float | None, expected: float | None
    ) -> None:
        """Within its TTL, borders included; null keys and times match nothing."""
        assert times_of(reader, user, item, at) == expected

    def test_every_row_comes_back_once_and_in_order(self, reader: FeatureReader) -> None:
        """Repeated rows as well, with the columns they came with."""
        asked = entities(("u2", "i2", 9), ("u1", "i1", 9), ("u2", "i2", 9), ("u9", "i9", 1), ("u1", "i1", 2))
        joined = reader.historical(asked, reader.feature_set("ranker"))
        assert joined["position"].to_pylist() == [0, 1, 2, 3, 4]
        assert joined[USER].to_pylist() == asked[USER].to_pylist()
        assert to_numpy(joined["visits"]).tolist()[:3] == [5, 2, 5]
        assert to_numpy(joined["sales"]).tolist()[:3] == [20, 11, 20]
        assert to_numpy(joined["brand"]).tolist() == ["unknown", "acme", "unknown", "unknown", "acme"]
        assert to_numpy(joined["city"]).tolist() == ["unknown", "Łódź", "unknown", "unknown", "Łódź"]

    def test_request_time_features_are_computed_from_the_joined_ones(self, reader: FeatureReader) -> None:
        """By the row's own request time; unknown stays unknown."""
        asked = entities(("u1", "i1", 9.5), ("u1", "i1", 1.25), ("u9", "i1", 3))
        joined = reader.historical(asked, reader.feature_set(["recency:days_since"]))
        np.testing.assert_allclose(to_numpy(joined["days_since"]), [4.5, 0.25, np.nan])

    def test_no_rows_are_no_rows(self, reader: FeatureReader) -> None:
        """An empty table comes back with its columns."""
        joined = reader.historical(entities(), reader.feature_set(["pair:times"]))
        assert len(joined) == 0
        assert "times" in joined.column_names


def pairs(table: pa.Table | None) -> dict[tuple[str, str], float]:
    """Return `times` by user and item, unknown ones as -1."""
    assert table is not None
    values = np.nan_to_num(to_numpy(table["times"]), nan=-1)
    keys = zip(table[USER].to_pylist(), table[ITEM].to_pylist(), strict=True)
    return dict(zip(keys, values.tolist(), strict=True))


class TestSnapshot:
    """What a materialize at that moment would put online."""

    @pytest.mark.parametrize(
        ("at", "expected"),
        [
            (0.5, {}),
            (5, {("u1", "i1"): 2, ("u1", "i2"): 4, ("u2", "i1"): -1}),
            (12, {("u1", "i1"): 9, ("u1", "i2"): 4, ("u2", "i1"): -1}),
            (12 + TICK, {("u1", "i1"): 9, ("u2", "i1"): -1}),
            (13 + TICK, {("u1", "i1"): 9}),
        ],
    )
    def test_holds_every_entitys_newest_live_row(
        self, reader: FeatureReader, at: float, expected: dict[tuple[str, str], float]
    ) -> None:
        """As known then, borders of the TTL included."""
        assert pairs(reader.snapshot("pair", day(at))) == expected

    def test_leaves_out_what_became_known_past_its_ttl(self, reader: FeatureReader) -> None:
        """However fresh the news."""
        assert ("u3", "i1") not in pairs(reader.snapshot("pair", day(15)))

    def test_gives_the_features_that_are_asked_for(self, reader: FeatureReader) -> None:
        """Beside the join keys and the time of the event."""
        table = reader.snapshot("item_stats", day(8), ["brand"])
        assert {ITEM, "brand", EVENT_TIMESTAMP} <= set(table.column_names)
        assert "sales" not in table.column_names
        assert sorted(table[ITEM].to_pylist()) == ["i1", "i2"]
        stamps = dict(zip(table[ITEM].to_pylist(), table[EVENT_TIMESTAMP].to_pylist(), strict=True))
        assert stamps == {"i1": day(7), "i2": day(2)}


# ---------------------------------------------------------------- online


class TestOnline:
    """What was materialized is what is read."""

    def test_nothing_is_there_before_the_first_time(self, reader: FeatureReader) -> None:
        """Neither rows nor a watermark."""
        assert reader.online_group("pair", "u1") is None
        assert len(reader.online_all("item_stats")) == 0
        assert reader.watermark("pair") is None

    def test_a_unit_has_all_its_rows_in_one_group(self, reader: FeatureReader) -> None:
        """Past their TTL as well: that is the caller's to enforce."""
        reader.materialize(day(20))
        group = reader.online_group("pair", "u1")
        assert pairs(group) == {("u1", "i1"): 9, ("u1", "i2"): 4}
        assert group is not None
        stamps = dict(zip(group[ITEM].to_pylist(), to_numpy(group[EVENT_TIMESTAMP]), strict=True))
        assert stamps["i1"] == np.datetime64(day(8).replace(tzinfo=None), "us")
        assert to_numpy(group["last"]).max() == np.datetime64(day(8).replace(tzinfo=None), "us")
        assert reader.online_group("pair", "u4") is None
        assert reader.online_group("pair", "nobody") is None

    def test_a_view_of_one_key_has_one_row_a_key(self, reader: FeatureReader) -> None:
        """By the same call."""
        reader.materialize(day(20))
        group = reader.online_group("user_stats", "u1")
        assert group is not None
        assert to_numpy(group["visits"]).tolist() == [2]
        assert to_numpy(group["city"]).tolist() == ["Łódź"]

    def test_all_rows_of_a_view_come_at_once(self, reader: FeatureReader) -> None:
        """Of every entity that was known."""
        reader.materialize(day(8))
        table = reader.online_all("item_stats")
        assert dict(zip(table[ITEM].to_pylist(), to_numpy(table["sales"]), strict=True)) == {"i1": 11, "i2": 20}

    def test_a_view_without_rows_has_its_columns(self, reader: FeatureReader) -> None:
        """So that a reader need not ask whether anything was materialized."""
        reader.materialize(day(8))
        table = reader.online_all("unsold")
        assert len(table) == 0
        assert {ITEM, "shelf", EVENT_TIMESTAMP} <= set(table.column_names)

    def test_nothing_later_than_the_moment_is_written(self, reader: FeatureReader) -> None:
        """Neither what happened later nor what became known later."""
        reader.materialize(day(5))
        assert pairs(reader.online_all("pair")) == {("u1", "i1"): 2, ("u1", "i2"): 4, ("u2", "i1"): -1}

    def test_steps_bring_news_and_what_became_known_late(self, reader: FeatureReader) -> None:
        """A step of its own finds a restated row and a late one."""
        reader.materialize(day(5))
        reader.materialize(day(6), since=day(5))
        assert pairs(reader.online_group("pair", "u1"))["u1", "i1"] == 3
        reader.materialize(day(13), since=day(6))
        assert pairs(reader.online_group("pair", "u1"))["u1", "i1"] == 9

    def test_steps_give_what_one_run_gives(self, reader: FeatureReader) -> None:
        """However the time was cut, and however often a step was repeated."""
        steps = (1, 4, 4, 9, 12, 12, 20)
        before: float | None = None
        for step in steps:
            reader.materialize(day(step), None if before is None else day(before))
            before = step
        stepped = {
            view.name: reader.online_all(view.name).sort_by([(k, "ascending") for k in view.join_keys])
            for view in VIEWS
        }
        reader.materialize(day(20))
        for view in VIEWS:
            whole = reader.online_all(view.name).sort_by([(key, "ascending") for key in view.join_keys])
            assert whole.equals(stepped[view.name])

    def test_news_older_than_the_row_leave_it(self, reader: FeatureReader) -> None:
        """The newest event wins, whenever it was written."""
        reader.materialize(day(9))
        reader.materialize(day(1))
        assert pairs(reader.online_group("pair", "u1"))["u1", "i1"] == 3

    def test_the_watermark_grows(self, reader: FeatureReader) -> None:
        """It never passes the moment, nor stays behind what was written."""
        seen = []
        for at in (2, 8, 13):
            reader.materialize(day(at))
            watermark = reader.watermark("pair")
            assert watermark is not None
            assert watermark <= day(at)
            seen.append(watermark)
        assert seen == sorted(seen)
        assert seen[0] >= day(2)

    @pytest.mark.parametrize("at", [RESTATED, 12])
    def test_the_generation_moves_with_late_rows(self, reader: FeatureReader, at: float) -> None:
        """Readers look at it to learn whether to read again: restated and late rows are news."""
        reader.materialize(day(at) - timedelta(seconds=1))
        before = reader.generation("pair")
        assert before > 0
        reader.materialize(day(at), since=day(at) - timedelta(seconds=1))
        assert reader.generation("pair") > before


# ---------------------------------------------------------------- Feast alone


def feast(repository: Path, namespace: Path | None = None) -> FeastFeatures:
    """Open the repository, with stores of its own if a folder is given."""
    return FeastFeatures(repository, "feature_store.yaml", namespace)


class TestNamespaces:
    """A replay has an online store of its own."""

    def test_namespaces_do_not_see_one_another(self, repository: Path, tmp_path: Path) -> None:
        """Nor do the configured stores see them."""
        first, second = feast(repository, tmp_path / "first"), feast(repository, tmp_path / "second")
        first.materialize(day(9))
        second.materialize(day(2))
        assert pairs(first.online_group("pair", "u1"))["u1", "i1"] == 3
        assert pairs(second.online_group("pair", "u1"))["u1", "i1"] == 1
        assert feast(repository).watermark("pair") is None
        assert feast(repository).online_group("pair", "u1") is None

    def test_a_namespace_is_found_again(self, repository: Path, tmp_path: Path) -> None:
        """By its folder."""
        feast(repository, tmp_path).materialize(day(9))
        assert pairs(feast(repository, tmp_path).online_group("pair", "u1"))["u1", "i1"] == 3

    def test_a_repository_that_was_not_applied_is_named(self, tmp_path: Path) -> None:
        """With what to do about it."""
        (tmp_path / "feature_store.yaml").write_text(FEATURE_STORE)
        for namespace in (None, tmp_path / "namespace"):
            with pytest.raises(FeatureError, match="run `feast apply`"):
                feast(tmp_path, namespace).view("pair")

    def test_a_configuration_that_is_missing_is_named(self, tmp_path: Path) -> None:
        """And the field that names it."""
        with pytest.raises(FeatureError, match=r"nothing\.yaml.*feature_store names it"):
            FeastFeatures(tmp_path, "nothing.yaml").view("pair")


def declared(
    folder: Path, repository: Path, *, definitions: str = DEFINITIONS, transforms: str = TRANSFORMS
) -> FeatureReader:
    """Read a copy of the repository's files, edited and not applied."""
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_bytes((repository / "feature_store.yaml").read_bytes())
    (folder / "contract_definitions.py").write_text(definitions, encoding="utf-8")
    (folder / "transforms.py").write_text(transforms, encoding="utf-8")
    return DeclaredFeatures(folder, "feature_store.yaml")


def digest_of(folder: Path, repository: Path, **texts: str) -> str:
    """Return the digest of the service, as a copy of the files declares it."""
    return declared(folder, repository, **texts).feature_set("ranker").digest


def digest_after(folder: Path, repository: Path, part: str, old: str, new: str) -> str:
    """Return the digest of the service after an edit of one file."""
    text = {"definitions": DEFINITIONS, "transforms": TRANSFORMS}[part]
    assert old in text
    return digest_of(folder / "edited", repository, **{part: text.replace(old, new)})


class TestDeclared:
    """Files that were not applied are enough for references and digests."""

    def test_files_and_registry_tell_the_same(self, repository: Path, tmp_path: Path) -> None:
        """The digest of logic does not depend on who asks."""
        files, applied = declared(tmp_path / "files", repository), feast(repository)
        assert files.view("pair") == applied.view("pair")
        assert files.feature_set("ranker").columns == applied.feature_set("ranker").columns
        assert files.feature_set("ranker").digest == applied.feature_set("ranker").digest

    @pytest.mark.parametrize(
        ("part", "old", "new"),
        [
            ("definitions", "timedelta(days=10)", "timedelta(days=11)"),
            ("definitions", "visits=Int64", "visits=Float64"),
            ("definitions", "/ 86_400", "/ 3_600"),
            ("definitions", 'pair[["times"]], recency', 'recency, pair[["times"]]'),
            ("transforms", "return events", "return items"),
        ],
    )
    def test_logic_changes_the_digest(self, repository: Path, tmp_path: Path, part: str, old: str, new: str) -> None:
        """Definitions, tables' transforms, request-time code and the order of columns."""
        assert digest_after(tmp_path, repository, part, old, new) != digest_of(tmp_path / "plain", repository)

    @pytest.mark.parametrize(
        ("part", "old", "new"),
        [
            ("definitions", "a comment and a docstring are no logic", "reworded"),
            ("definitions", "    import numpy as np\n", "    import numpy as np  # arrays\n\n"),
            ("definitions", "unsold = _view(", "other = unsold = _view("),
            ("definitions", "shelf=Float64", "shelf=Int64"),
            ("transforms", "    return events", '    """Nothing yet."""\n    # really\n    return (events)'),
        ],
    )
    def test_words_and_strangers_do_not(self, repository: Path, tmp_path: Path, part: str, old: str, new: str) -> None:
        """Comments, docstrings, formatting, and views that the service does not read."""
        assert digest_after(tmp_path, repository, part, old, new) == digest_of(tmp_path / "plain", repository)

    def test_a_file_that_does_not_run_is_an_error_of_the_repository(self, repository: Path, tmp_path: Path) -> None:
        """In one line, with its cause."""
        with pytest.raises(FeatureError, match="ZeroDivisionError"):
            declared(tmp_path / "broken", repository, definitions="1 / 0").view("pair")
