"""Do a session's online rows equal what its past says, however its events came in?"""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.errors import FeatureError
from recsys.ports import EventLog, FeatureReader, Step, Streams
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, EVENTS
from recsys.serving.freshness import SessionFeatures
from tests.adapters.contract_shop import PUSHED, feast, written
from tests.adapters.feature_histories import START, STREAMS, TRANSFORMS, rows_of, run, write_sources
from tests.adapters.packed_stores import KINDS
from tests.adapters.test_features_contract_online import configured
from tests.adapters.test_streams_contract import SECOND, Row, act, as_known, by_key, duckdb_engine
from tests.fakes.event_log import FakeEventLog

TABLE: Final = STREAMS[PUSHED]
SESSIONS: Final = ("s0", "s1")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write and apply a repository with the pushed view once for all tests."""
    return written(tmp_path_factory.mktemp("repository"))


@pytest.fixture(params=KINDS)
def configuration(request: pytest.FixtureRequest, repository: Path) -> Iterator[str]:
    """Give a configuration for each kind of online store."""
    with configured(repository, request.param) as name:
        yield name


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    """Give the real engine."""
    return duckdb_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def streams(engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory) -> Streams:
    """Compile the shipped stream table once."""
    return engine.streams(TRANSFORMS, [TABLE], write_sources(tmp_path_factory.mktemp("catalogue"), []))


def following(log: EventLog, features: FeatureReader, streams: Streams) -> SessionFeatures:
    """Put together what a service has."""
    return SessionFeatures(log, features, [TABLE], lambda: streams)


def post(log: EventLog, events: Sequence[Row], at: datetime) -> pa.Table:
    """Log events as they come in at a moment, and return them."""
    received = [row | {EVENT_TIMESTAMP: min(row[EVENT_TIMESTAMP], at), CREATED_TIMESTAMP: at} for row in events]
    table = pa.Table.from_pylist(received, EVENTS)
    log.write_outcomes(table)
    return table


def online(features: FeatureReader) -> dict[tuple[Any, ...], Row]:
    """Return the rows of both sessions."""
    groups = (features.online_group(PUSHED, session) for session in SESSIONS)
    return {key: row for group in groups if group is not None for key, row in by_key(TABLE, group).items()}


def offline(engine: DuckDBEngine, log: EventLog, at: datetime, folder: Path) -> dict[tuple[Any, ...], Row]:
    """Return what a join as of a moment finds in the table that is built of the log's events."""
    rows = log.session_events(SESSIONS, TABLE.events, 10_000).to_pylist()
    run(engine, TABLE, Step(None, at), write_sources(folder / "sources", rows), folder / "table")
    return as_known(TABLE, rows_of(folder / "table", TABLE), at)


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[list[Row], bool]]:
    """Draw batches of events, in any order and some of them again, each with whether its push is lost."""
    events = [
        act(
            number,
            draw(st.integers(0, 30)),
            event_type=draw(st.sampled_from(["click", "pageview", "transfer", "purchase"])),
            session_id=draw(st.sampled_from([*SESSIONS, None])),
            item_id=draw(st.sampled_from(["i0", "i1", None])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    order = draw(st.lists(st.sampled_from(events), min_size=1, max_size=12))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)) | {0, len(order)})
    return [(order[start:end], draw(st.booleans())) for start, end in itertools.pairwise(cuts)]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=batches())
def test_online_is_what_a_join_as_of_now_finds(
    repository: Path,
    configuration: str,
    engine: DuckDBEngine,
    streams: Streams,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[list[Row], bool]],
) -> None:
    """After every push, whatever the order of events, their batches, retries, and pushes that were lost before."""
    folder = tmp_path_factory.mktemp("drawn")
    features, log = feast(repository, folder / "online", configuration), FakeEventLog()
    sessions = following(log, features, streams)
    behind: set[str] = set()
    for number, (events, lost) in enumerate(drawn):
        at = START + (10 + 10 * number) * SECOND
        received = post(log, events, at)
        named = {row["session_id"] for row in events if row["event_type"] in TABLE.events} - {None}
        if lost:
            behind |= named
            continue
        sessions.follow(received)
        behind -= named
        past = offline(engine, log, at, folder / str(number))
        found = online(features)
        for session in set(SESSIONS) - behind:
            mine, wanted = ({key: row for key, row in of.items() if key[0] == session} for of in (found, past))
            assert mine == wanted
    sessions.follow(log.session_events(SESSIONS, TABLE.events, 10_000))
    end = START + (10 + 10 * len(drawn)) * SECOND
    assert online(features) == offline(engine, log, end, folder / "end")


class Overtaken:
    """Features whose first push waits until another worker has done all of its own."""

    def __init__(self, features: FeatureReader, overtake: Any) -> None:
        """Hold what comes in between."""
        self._features, self._overtake = features, overtake

    def push(self, view: str, rows: pa.Table) -> None:
        """Let the other go first, once."""
        overtake, self._overtake = self._overtake, None
        if overtake is not None:
            overtake()
        self._features.push(view, rows)


def test_of_two_workers_the_slower_does_not_win(
    repository: Path, configuration: str, streams: Streams, tmp_path: Path
) -> None:
    """It read the log before the other's events were there, and its row has the same clocks."""
    features = feast(repository, tmp_path / "online", configuration)
    log = SqlEventLog(f"sqlite:///{tmp_path}/log.db")
    fast = following(log, features, streams)

    def overtake() -> None:
        # Stamped before the slow worker's event and committed after it.
        fast.follow(post(log, [act(1, 0), act(2, 1)], START + 4 * SECOND))

    slow = following(log, Overtaken(features, overtake), streams)  # type: ignore[arg-type] # only push is called
    slow.follow(post(log, [act(3, 2)], START + 5 * SECOND))
    assert online(features)["s0", "i0"]["session_item_views"] == 3
    log.close()


def test_events_that_no_stream_is_made_of_cost_nothing(streams: Streams) -> None:
    """Neither the log nor the store is asked."""
    sessions = SessionFeatures(FakeEventLog(), None, [TABLE], lambda: streams)  # type: ignore[arg-type] # not asked
    bought = pa.Table.from_pylist([act(1, 0, event_type="purchase"), act(2, 0, session_id=None)], EVENTS)
    assert sessions.follow(bought) == 0


def test_a_transform_that_cannot_be_prepared_is_tried_again(streams: Streams, repository: Path, tmp_path: Path) -> None:
    """Such as before the first `recsys ingest`."""
    answers: list[Any] = [FeatureError("items: missing"), streams]

    def prepare() -> Streams:
        answer = answers.pop(0)
        if isinstance(answer, FeatureError):
            raise answer
        prepared: Streams = answer
        return prepared

    log, features = FakeEventLog(), feast(repository, tmp_path / "online")
    sessions = SessionFeatures(log, features, [TABLE], prepare)
    with pytest.raises(FeatureError, match="missing"):
        sessions.warm()
    sessions.follow(post(log, [act(1, 0)], START + SECOND))
    assert online(features)["s0", "i0"]["session_item_views"] == 1
