"""Do the fake, a SQLite file and a Redis server give the same features online, each replay its own?"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from recsys.adapters.feast_features import FeastFeatures
from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import ErasedOnline, FeatureReader
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, USER
from tests.adapters.contract_shop import (
    FEATURE_STORE,
    PUSHED,
    RESTATED,
    TABLES,
    VIEWS,
    VISITS,
    day,
    fake,
    feast,
    pairs,
    rows,
    visited,
    written,
)
from tests.adapters.packed_stores import KINDS, PACKAGE
from tests.servers import redis_prefix


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write and apply the shop once for all tests."""
    return written(tmp_path_factory.mktemp("repository"))


@contextmanager
def configured(repository: Path, kind: str) -> Iterator[str]:
    """Give the name of a configuration whose online store is of a kind, and clean up behind it."""
    if kind == "sqlite":
        yield "feature_store.yaml"
        return
    with redis_prefix() as (url, prefix):
        ours = f"{PACKAGE}.PackedSqliteOnlineStore, path: online.db"
        assert ours in FEATURE_STORE
        redis = f"{PACKAGE}.PackedRedisOnlineStore, url: '{url}', key_prefix: '{prefix}'"
        (repository / "redis.yaml").write_text(FEATURE_STORE.replace(ours, redis))
        yield "redis.yaml"


@pytest.fixture(params=["fake", *KINDS])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeatureReader]:
    """Give a reader of each kind whose online store is empty."""
    if request.param == "fake":
        yield fake()
        return
    repository: Path = request.getfixturevalue("repository")
    with configured(repository, request.param) as configuration:
        yield feast(repository, tmp_path / "online", configuration)


@pytest.fixture(params=KINDS)
def configuration(request: pytest.FixtureRequest, repository: Path) -> Iterator[str]:
    """Give a configuration for each kind of online store."""
    with configured(repository, request.param) as name:
        yield name


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

    def test_only_the_named_views_are_brought_up(self, reader: FeatureReader) -> None:
        """The others stay where they were."""
        reader.materialize(day(20), views=["pair"])
        assert reader.online_group("pair", "u1") is not None
        assert reader.online_group("user_stats", "u1") is None
        assert reader.generation("user_stats") == 0
        reader.materialize(day(20), views=["user_stats"])
        assert reader.online_group("user_stats", "u1") is not None

    def test_a_request_reads_the_same_rows_column_by_column(self, reader: FeatureReader) -> None:
        """As numpy; also of views of other keys, and nothing of nobody."""
        reader.materialize(day(20))
        read = reader.online_columns({"pair": "u1", "user_stats": "u1", "unsold": "u1"}, within=60)
        assert set(read) == {"pair", "user_stats"}
        for view, columns in read.items():
            group = reader.online_group(view, "u1")
            assert group is not None
            assert set(columns) == set(group.column_names)
            for name in reversed(group.column_names):
                expected = to_numpy(group[name])
                assert columns[name].dtype == expected.dtype, name
                np.testing.assert_array_equal(columns[name], expected)
        assert set(reader.online_columns({"pair": "nobody", "user_stats": "u1"})) == {"user_stats"}
        assert reader.online_columns({}) == {}

    def test_many_requests_read_the_same_rows_key_after_key(self, reader: FeatureReader) -> None:
        """Of each view in the order of its own keys; a key may have no rows, or be asked for twice."""
        reader.materialize(day(20))
        units = ["u2", "nobody", "u1", "u2"]
        read = reader.online_groups({"pair": units, "user_stats": units[:3], "unsold": ["i1"]})
        assert set(read) == {"pair", "user_stats"}
        for view, groups in read.items():
            for place, unit in enumerate(units[: len(groups.bounds) - 1]):
                mine = slice(*groups.bounds[place : place + 2].tolist())
                alone = reader.online_columns({view: unit}).get(view)
                assert (mine.stop == mine.start) == (alone is None)
                if alone is not None:
                    assert set(groups.columns) == set(alone)
                    for name in alone:
                        assert groups.columns[name].dtype == alone[name].dtype, name
                        np.testing.assert_array_equal(groups.columns[name][mine], alone[name], err_msg=name)
        assert len(read["pair"].bounds) == len(units) + 1
        assert len(read["user_stats"].bounds) == len(units)
        assert reader.online_groups({}) == {}
        assert reader.online_groups({"pair": []}) == {}

    def test_a_view_without_rows_has_its_columns(self, reader: FeatureReader) -> None:
        """So that a reader need not ask whether anything was materialized."""
        reader.materialize(day(8))
        table = reader.online_all("unsold")
        assert len(table) == 0
        assert {ITEM, "shelf", EVENT_TIMESTAMP} <= set(table.column_names)

    def test_units_are_erased_from_all_views_that_keep_rows_under_them(self, reader: FeatureReader) -> None:
        """And nobody else; once more there is nothing."""
        reader.materialize(day(20))
        before, generation = reader.online_all("user_stats").num_rows, reader.generation("pair")
        items = reader.online_all("item_stats").num_rows
        assert reader.erase(USER, ["u1", "nobody"]) == ErasedOnline({"pair": 2, "user_stats": 1}, ())
        assert reader.online_group("pair", "u1") is None
        assert reader.online_group("user_stats", "u1") is None
        assert reader.online_all("user_stats").num_rows == before - 1
        assert reader.generation("pair") != generation
        assert reader.erase(USER, ["u1", "nobody"]) == ErasedOnline({"pair": 0, "user_stats": 0}, ())
        assert reader.online_all("item_stats").num_rows == items
        assert set(reader.erase(ITEM, ["i1"]).unreached) == {"pair", PUSHED}

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


class TestPushes:
    """Rows that come in by themselves."""

    def test_a_pushed_row_is_read_at_once(self, reader: FeatureReader) -> None:
        """With both of its clocks, and the view has changed."""
        assert reader.online_group(PUSHED, "v9") is None
        before = reader.generation(PUSHED)
        reader.push(PUSHED, rows(VISITS, ("v9", "i1", 1.0, 0.0, day(5), 5, 5.5), ("v9", "i2", 0.0, 1.0, day(6), 6, 6)))
        group = reader.online_group(PUSHED, "v9")
        assert group is not None
        assert visited(group) == {("v9", "i1"): (1, 0), ("v9", "i2"): (0, 1)}
        known = dict(zip(group[ITEM].to_pylist(), group[CREATED_TIMESTAMP].to_pylist(), strict=True))
        assert known == {"i1": day(5.5), "i2": day(6)}
        assert reader.generation(PUSHED) > before
        assert reader.watermark(PUSHED) == day(6)

    def test_the_newest_row_stays(self, reader: FeatureReader) -> None:
        """By event, of equal ones by when it was known, of equal ones the last that was pushed."""
        pushed = [(2, 6, 7), (9, 5, 9), (8, 6, 6.5), (3, 6, 7), (4, 6, 8), (1, 6, 7.5)]
        seen = []
        for views, event, known in pushed:
            reader.push(PUSHED, rows(VISITS, ("v9", "i1", float(views), 0.0, day(event), event, known)))
            group = reader.online_group(PUSHED, "v9")
            assert group is not None
            seen.append(visited(group)["v9", "i1"][0])
        assert seen == [2, 2, 2, 3, 4, 4]

    def test_a_materialize_adds_what_was_not_pushed(self, reader: FeatureReader) -> None:
        """And leaves what is newer than its rows."""
        reader.push(PUSHED, rows(VISITS, ("v2", "i1", 7.0, 2.0, day(4.9), 4.9, 4.9)))
        for _ in range(2):
            reader.materialize(day(4.5))
            assert visited(reader.online_all(PUSHED)).items() >= {("v2", "i1"): (7, 2), ("v2", "i2"): (1, 1)}.items()

    def test_a_materialize_forgets_ended_sessions(self, reader: FeatureReader) -> None:
        """They come and go, and nothing would ever write them again; one that goes on keeps all its rows."""
        ended, lasting = (("v7", "i1", 1.0, 0.0, day(4), 4, 4), ("v8", "i1", 1.0, 0.0, day(4), 4, 4))
        reader.push(PUSHED, rows(VISITS, ended, lasting, ("v8", "i2", 1.0, 0.0, day(5), 5, 5)))
        reader.push(PUSHED, rows(VISITS, ("v9", "i1", 3.0, 0.0, day(9), 9, 9)))
        before = reader.generation(PUSHED)
        reader.materialize(day(5.5))
        assert set(visited(reader.online_all(PUSHED))) == {("v8", "i1"), ("v8", "i2"), ("v9", "i1")}
        assert reader.online_group(PUSHED, "v7") is None
        assert reader.generation(PUSHED) > before
        reader.materialize(day(20))
        assert len(reader.online_all(PUSHED)) == 0
        assert reader.online_group("pair", "u3") is not None, "rows of other views stay past their TTL"
        reader.push(PUSHED, rows(VISITS, ended))
        assert visited(reader.online_all(PUSHED)) == {("v7", "i1"): (1, 0)}

    def test_a_new_store_is_filled_with_sessions_that_go_on(self, reader: FeatureReader) -> None:
        """Not with all that ever were."""
        reader.materialize(day(4.15))
        assert visited(reader.online_all(PUSHED)) == {("v2", "i1"): (1, 0)}

    @pytest.mark.parametrize("view", ["pair", "user_stats"])
    def test_only_a_view_with_a_push_source_takes_rows(self, reader: FeatureReader, view: str) -> None:
        """Another one is refused by name."""
        with pytest.raises(FeatureError, match=f"feature view {view}: nothing can be pushed to it"):
            reader.push(view, TABLES[view])

    def test_feasts_own_push_writes_the_same(self, repository: Path, configuration: str, tmp_path: Path) -> None:
        """So that another producer may push to the source by its name."""
        ours, theirs = (feast(repository, tmp_path / name, configuration) for name in ("ours", "theirs"))
        table = rows(VISITS, ("v9", "i1", 1.0, 0.0, day(5), 5, 5.5), ("v9", "i2", 0.0, 1.0, day(6), 6, 6))
        ours.push(PUSHED, table)
        theirs.store.push("session_item_events", table.to_pandas())
        one, other = (reader.online_group(PUSHED, "v9") for reader in (ours, theirs))
        assert one is not None
        assert other is not None
        assert one.to_pylist() == other.select(one.column_names).to_pylist()


class TestNamespaces:
    """A replay has an online store of its own."""

    def test_namespaces_do_not_see_one_another(self, repository: Path, configuration: str, tmp_path: Path) -> None:
        """Nor do the configured stores see them."""
        first, second = (
            feast(repository, tmp_path / "first", configuration),
            feast(repository, tmp_path / "second", configuration),
        )
        first.materialize(day(9))
        second.materialize(day(2))
        assert pairs(first.online_group("pair", "u1"))["u1", "i1"] == 3
        assert pairs(second.online_group("pair", "u1"))["u1", "i1"] == 1
        assert feast(repository, None, configuration).watermark("pair") is None
        assert feast(repository, None, configuration).online_group("pair", "u1") is None

    def test_a_namespace_is_found_again(self, repository: Path, configuration: str, tmp_path: Path) -> None:
        """By its folder."""
        feast(repository, tmp_path, configuration).materialize(day(9))
        assert pairs(feast(repository, tmp_path, configuration).online_group("pair", "u1"))["u1", "i1"] == 3

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

    def test_a_namespace_that_begins_again_is_empty(self, repository: Path, configuration: str, tmp_path: Path) -> None:
        """When its folder was removed, whatever the store kept of it."""
        folder = tmp_path / "replayed"
        feast(repository, folder, configuration).materialize(day(9))
        shutil.rmtree(folder)
        again = feast(repository, folder, configuration)
        assert again.online_group("pair", "u1") is None
        assert again.watermark("pair") is None
        assert again.generation("pair") == 0

    def test_a_store_without_namespaces_is_named(self, repository: Path, tmp_path: Path) -> None:
        """A replay would write into what requests read."""
        text = (repository / "feature_store.yaml").read_text()
        store = f"{PACKAGE}.PackedSqliteOnlineStore, path: online.db"
        assert store in text
        (repository / "plain.yaml").write_text(text.replace(store, "sqlite, path: plain.db"))
        with pytest.raises(FeatureError, match=r"sqlite: cannot give a replay an online store of its own"):
            feast(repository, tmp_path / "own", "plain.yaml").view("pair")
        with pytest.raises(FeatureError, match=r"SqliteOnlineStore: cannot read a user's rows in one go"):
            feast(repository, None, "plain.yaml").online_group("pair", "u1")
