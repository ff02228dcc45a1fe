"""Do Feast's own tools work on the packed stores: apply, materialize, pushes, the feature server, after a kill too?"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from feast import FeatureStore, FeatureView, Field
from feast.data_source import PushMode
from feast.feature_server import get_app
from feast.types import Float64, Int64, String

from tests.adapters.feast_shop import DAY, LONG_AGO, START, Repository, build, clocks, definitions, source, user
from tests.adapters.packed_stores import KINDS, online_settings

ASKED = {"user_id": ["a", "a", "b", "c"], "item_id": ["p", "q", "p", "p"]}
FEATURES = ["users:baskets", "users:city", "users:last", "pairs:count"]


@pytest.fixture(params=KINDS)
def online(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with online_settings(request.param) as settings:
        yield settings


@pytest.fixture
def both(tmp_path: Path, online: dict[str, Any]) -> list[Repository]:
    """One shop on a packed store, and on Feast's own store with Feast's own engine."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    feast_sqlite = {"type": "sqlite", "path": "data/sqlite.db"}
    return [
        build(ours, online, definitions()),
        build(theirs, feast_sqlite, definitions(), batch_engine={"type": "local"}),
    ]


def push_of(event: datetime, count: float, created: datetime | None = None) -> pd.DataFrame:
    """Return one row of pairs."""
    columns = {name: [value.to_pylist()[0]] for name, value in clocks([event], [created or event]).items()}
    return pd.DataFrame({"user_id": ["a"], "item_id": ["q"], "count": [count], **columns})


def same(both: list[Repository], features: list[str] = FEATURES) -> dict[str, list[Any]]:
    """Ask both shops, and return the answer that they must agree on."""
    ours, theirs = (repository.online(features, **ASKED) for repository in both)
    assert ours == theirs
    return ours


def test_feast_gives_the_same_on_a_packed_store_as_on_its_own(both: list[Repository]) -> None:
    assert same(both)["count"] == [None] * 4
    for repository in both:
        repository.materialize(START + DAY / 2)
    assert same(both)["count"] == [1.0, None, 3.0, None]
    for repository in both:
        repository.store.materialize_incremental(START + 2 * DAY)
    assert same(both)["count"] == [1.0, 4.0, 3.0, None]
    for repository in both:
        repository.store.push("pair_pushes", push_of(START + 3 * DAY, 7.0), to=PushMode.ONLINE)
        repository.store.write_to_online_store("pairs", push_of(START + 4 * DAY, 8.0))
    assert same(both)["count"] == [1.0, 8.0, 3.0, None]
    for repository in both:
        repository.store.push("pair_pushes", push_of(START + 4 * DAY, 9.0, START + 5 * DAY), to=PushMode.ONLINE)
    assert same(both)["count"] == [1.0, 9.0, 3.0, None]  # a correction of the same event


def test_an_older_event_never_overwrites_a_newer_one(both: list[Repository]) -> None:
    ours = both[0]
    ours.materialize(START + 2 * DAY)
    ours.store.push("pair_pushes", push_of(START + 4 * DAY, 8.0), to=PushMode.ONLINE)
    ours.store.push("pair_pushes", push_of(START + 3 * DAY, 7.0), to=PushMode.ONLINE)
    ours.materialize(START + 2 * DAY)
    assert ours.online(["pairs:count"], **ASKED)["count"] == [1.0, 8.0, 3.0, None]


def test_the_feature_server_reads_and_writes(both: list[Repository]) -> None:
    answers = []
    for repository in both:
        repository.materialize(START + 2 * DAY)
        with TestClient(get_app(repository.store)) as client:
            frame = push_of(START + 3 * DAY, 7.0)
            texts = frame.assign(
                **{name: frame[name].map(datetime.isoformat) for name in frame if "_timestamp" in name}
            )
            columns = texts.to_dict(orient="list")
            asked = {"features": FEATURES, "entities": ASKED}
            before = client.post("/get-online-features", json=asked).json()
            pushed = client.post("/push", json={"push_source_name": "pair_pushes", "df": columns, "to": "online"})
            after = client.post("/get-online-features", json=asked).json()
            written = client.post(
                "/write-to-online-store",
                json={"feature_view_name": "pairs", "df": {**columns, "count": [9.5]}},
            )
            last = client.post("/get-online-features", json=asked).json()
            assert (pushed.status_code, written.status_code) == (200, 200)
            answers.append([before, after, last])
    assert answers[0] == answers[1]
    values = [answer["results"][answer["metadata"]["feature_names"].index("count")]["values"] for answer in answers[0]]
    assert values == [[1.0, 4.0, 3.0, None], [1.0, 7.0, 3.0, None], [1.0, 9.5, 3.0, None]]


def test_an_apply_takes_views_away_and_features_in(tmp_path: Path, online: dict[str, Any]) -> None:
    repository = build(tmp_path, online, definitions())
    repository.materialize(START + 2 * DAY)
    provider: Any = repository.store._get_provider()
    pairs = repository.store.get_feature_view("pairs")
    wider = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(0),
        schema=[
            Field(name="baskets", dtype=Float64),
            Field(name="visits", dtype=Int64),
            Field(name="city", dtype=String),
        ],
        source=source("users", household="user_id", n="baskets"),
    )
    views = [each for each in definitions() if getattr(each, "name", "") in ("pairs", "rhythm")]
    repository.store.apply([user, wider], objects_to_delete=views, partial=False)
    assert provider.online_store.read_all(repository.store.config, pairs).num_rows == 0
    assert provider.online_store.generation(repository.store.config, pairs) == 0
    asked = repository.online(["users:baskets", "users:visits", "users:city"], user_id=["a", "z"])
    assert asked == {"user_id": ["a", "z"], "baskets": [2.0, None], "visits": [None] * 2, "city": ["y", None]}
    repository.store.teardown()
    assert provider.online_store.read_all(repository.store.config, wider).num_rows == 0


def test_an_empty_view_materializes_to_nothing(tmp_path: Path, online: dict[str, Any]) -> None:
    repository = build(tmp_path, online, definitions())
    repository.materialize(START - DAY)
    assert repository.online(FEATURES, **ASKED)["count"] == [None] * 4
    provider: Any = repository.store._get_provider()
    view = repository.store.get_feature_view("pairs")
    assert provider.online_store.watermark(repository.store.config, view) is None


def test_ttl_is_the_environments_clocks(tmp_path: Path, online: dict[str, Any]) -> None:
    """What is read online is what a historical read at the clock's time gives."""
    objects = definitions()
    for each in objects:
        if isinstance(each, FeatureView):
            each.ttl = timedelta(days=2)
    clock = {"replay_from": (START + 2 * DAY).isoformat(), "position": "data/clock.json"}
    repository = build(tmp_path, {**online, "clock": clock}, objects)
    repository.materialize(START + 2 * DAY)
    for days in (2.0, 2.0 + 1e-6, 3.0, 3.0 + 1e-6):
        now = START + days * DAY
        (tmp_path / "data" / "clock.json").write_text(f'{{"now": "{now.isoformat()}"}}')
        live = repository.online(["users:baskets", "pairs:count"], **ASKED)
        entities = pa.table({**ASKED, "event_timestamp": [now] * 4})
        past = repository.store.get_historical_features(entities, ["users:baskets", "pairs:count"]).to_arrow()
        for name in ("baskets", "count"):
            assert live[name] == [None if value != value else value for value in past[name].to_pylist()]  # noqa: PLR0124


def _materialize(folder: Path, begun: Any) -> None:
    begun.value = 1
    FeatureStore(repo_path=str(folder)).materialize(LONG_AGO, START + 9 * DAY)
    begun.value = 2


@contextmanager
def killed_after(folder: Path, pause: float) -> Iterator[multiprocessing.process.BaseProcess]:
    """Materialize in a process that is killed some time after its beginning."""
    context = multiprocessing.get_context("fork")
    begun = context.Value("i", 0)
    process = context.Process(target=_materialize, args=(folder, begun))
    process.start()
    try:
        while begun.value == 0:
            assert process.is_alive()
        yield process
        process.join(pause)
    finally:
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()


COUNT = 30_000


def write_tables(repository: Repository, value: float, event: datetime) -> None:
    """Write users and pairs of one value and time."""
    same_value, times = [value] * COUNT, clocks([event] * COUNT)
    users = {"household": [f"u{n}" for n in range(COUNT)], "n": same_value, "city": ["x"] * COUNT}
    last = pa.array([START] * COUNT, pa.timestamp("us", tz="UTC"))
    repository.write("users", pa.table({**users, "last": last, **times}))
    pairs = {"user_id": [f"u{n // 3}" for n in range(COUNT)], "item_id": [f"i{n % 3}" for n in range(COUNT)]}
    repository.write("pairs", pa.table({**pairs, "count": same_value, **times}))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("pause", [0.05, 0.15, 0.4])
def test_a_kill_in_mid_materialize(tmp_path: Path, online: dict[str, Any], pause: float) -> None:
    """Reads go on, while it runs and after the kill; a re-run completes."""
    repository = build(tmp_path, online, definitions(), {"serve_features_while_materializing": True})
    write_tables(repository, 2.0, START)
    repository.materialize(START + DAY)
    write_tables(repository, 3.0, START + 2 * DAY)
    asked = {"user_id": ["u7", "u9999", "u0"], "item_id": ["i0", "i1", "i2"]}

    def read() -> set[float]:
        found = repository.online(["users:baskets", "pairs:count"], **asked)
        return {*found["baskets"], *found["count"]}

    assert read() == {2.0}
    with killed_after(tmp_path, pause) as process:
        for _ in range(3):
            assert read() <= {2.0, 3.0}
    assert not process.is_alive()
    repository.store.refresh_registry()
    assert read() <= {2.0, 3.0}
    repository.materialize(START + 9 * DAY)
    assert read() == {3.0}
