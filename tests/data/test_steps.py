"""Do steps cover every period once, and are late things told in the one period in which they became known?"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.steps import ANCHOR, due_steps, last_period, new_rows, newest_rows, newest_versions, period_end
from recsys.errors import DataError
from recsys.ports import FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP, TIMESTAMP
from tests.events import event_table, write_events
from tests.fakes.engine import FakeEngine

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
INSTANT = timedelta(microseconds=1)
TABLE = FeatureTable("table", "code", ("user_id",), WEEK, 2)

Row = dict[str, Any]


def row(number: int, happened: datetime, known: datetime | None = None) -> Row:
    """Return an event."""
    return {EVENT_ID: f"e{number}", EVENT_TIMESTAMP: happened, CREATED_TIMESTAMP: known or happened}


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Draw events over ten weeks, known at once, soon or weeks later; often exactly at a week's end."""
    within = st.sampled_from([timedelta(0), INSTANT, WEEK - INSTANT]) | st.timedeltas(timedelta(0), WEEK - INSTANT)
    happened = st.builds(lambda week, rest: START + week * WEEK + rest, st.integers(0, 9), within)
    late = st.sampled_from([timedelta(0), timedelta(0), INSTANT, WEEK - INSTANT, WEEK, 3 * WEEK])
    return [
        row(number, at, at + lag)
        for number, (at, lag) in enumerate(draw(st.lists(st.tuples(happened, late), min_size=1, max_size=8)))
    ]


class TestLastPeriod:
    """What is over."""

    def last(self, folder: Path, *rows: Row) -> datetime:
        """Return it for some events."""
        return last_period(FakeEngine(), write_events(folder / "events.parquet", rows), WEEK)

    def test_the_newest_knowledge_says_what_is_over(self, tmp_path: Path) -> None:
        """A week is over at its very end."""
        assert self.last(tmp_path, row(0, START + INSTANT), row(1, START + 2 * WEEK - INSTANT)) == START + WEEK
        assert self.last(tmp_path, row(0, START), row(1, START + 2 * WEEK)) == START + 2 * WEEK
        assert self.last(tmp_path, row(0, START, START + 2 * WEEK)) == START + 2 * WEEK

    def test_no_events(self, tmp_path: Path) -> None:
        """There is nothing to make."""
        with pytest.raises(DataError, match=r"no events: no period of 7 days is over yet; bring .*`recsys ingest`"):
            self.last(tmp_path)

    def test_no_period_is_over(self, tmp_path: Path) -> None:
        """The events' span says why."""
        with pytest.raises(DataError, match=r"events from 2024-01-01 00:00 to 2024-01-07 23:59: no period of 7 days"):
            self.last(tmp_path, row(0, START), row(1, START + WEEK - INSTANT))
        with pytest.raises(DataError, match="is over yet"):
            self.last(tmp_path, row(0, START))

    def test_periods_end_at_multiples_since_a_monday(self) -> None:
        """Of any length."""
        assert period_end(START, WEEK) == START
        assert period_end(START - INSTANT, WEEK) == START - WEEK
        assert ANCHOR.weekday() == 0
        assert period_end(START + timedelta(hours=30), timedelta(days=1)) == START + timedelta(days=1)


class TestDueSteps:
    """From one end to another."""

    def steps(self, folder: Path, rows: list[Row], after: datetime | None, until: datetime) -> list[Step]:
        """Return them for some events."""
        return list(due_steps(FakeEngine(), write_events(folder / "events.parquet", rows), WEEK, after, until))

    @settings(max_examples=60)
    @given(rows=histories(), after=st.none() | st.integers(1, 12), until=st.integers(1, 15))
    def test_steps_tile_what_is_due(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[Row], after: int | None, until: int
    ) -> None:
        """Without a gap; what restates is one period, in which something late became known; what does not is none."""
        begin, end = (after if after is None else START + after * WEEK), START + until * WEEK
        steps = self.steps(tmp_path_factory.mktemp("steps"), rows, begin, end)
        if begin is not None and begin >= end:
            assert steps == []
            return
        assert (steps[0].after, steps[-1].until) == (begin, end)
        assert all(one.until == other.after for one, other in pairwise(steps))
        for step in steps:
            if step.restates:
                assert step.after == step.until - WEEK
            late = [
                event
                for event in rows
                if (step.after is None or event[CREATED_TIMESTAMP] > step.after)
                and event[CREATED_TIMESTAMP] <= step.until
                and period_end(event[EVENT_TIMESTAMP], WEEK) + WEEK
                < -((START - event[CREATED_TIMESTAMP]) // WEEK) * WEEK + START
            ]
            assert bool(late) == step.restates, (step, late)

    def test_nothing_is_due(self, tmp_path: Path) -> None:
        """At the end already, whatever was late before."""
        rows = [row(0, START, START + 3 * WEEK), row(1, START + 5 * WEEK)]
        assert self.steps(tmp_path, rows, START + 5 * WEEK, START + 5 * WEEK) == []

    def test_one_pass_where_nothing_is_late(self, tmp_path: Path) -> None:
        """A year and a week alike."""
        rows = [row(week, START + week * WEEK) for week in range(50)]
        assert self.steps(tmp_path, rows, None, START + 49 * WEEK) == [Step(None, START + 49 * WEEK)]
        assert self.steps(tmp_path, rows, START + WEEK, START + 2 * WEEK) == [Step(START + WEEK, START + 2 * WEEK)]

    def test_what_is_known_at_the_very_end_of_its_week_is_not_late(self, tmp_path: Path) -> None:
        """An instant later it is."""
        rows = [row(0, START, START + WEEK), row(1, START + 4 * WEEK)]
        assert self.steps(tmp_path, rows, None, START + 4 * WEEK) == [Step(None, START + 4 * WEEK)]
        rows[0][CREATED_TIMESTAMP] += INSTANT
        assert self.steps(tmp_path, rows, None, START + 4 * WEEK) == [
            Step(None, START + WEEK),
            Step(START + WEEK, START + 2 * WEEK, restates=True),
            Step(START + 2 * WEEK, START + 4 * WEEK),
        ]


class TestRows:
    """Which rows are appended, which is the newest."""

    def table(self, *rows: tuple[str | None, int, float | None, int | None]) -> Any:
        """Return rows of user, week, feature and the week in which they became known."""
        names = ("user_id", EVENT_TIMESTAMP, "feature", CREATED_TIMESTAMP)
        schema = pa.schema([("user_id", pa.string()), (EVENT_TIMESTAMP, TIMESTAMP), ("feature", pa.float64())])
        known = any(row[3] is not None for row in rows)
        schema = schema.append(pa.field(CREATED_TIMESTAMP, TIMESTAMP)) if known else schema
        listed = [(user, START + week * WEEK, value, at and START + at * WEEK) for user, week, value, at in rows]
        return ibis.memtable(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in listed], schema))

    def appended(self, made: Any, existing: Any | None, step: Step, *events: Row) -> set[tuple[Any, ...]]:
        """Return what a step appends, times in weeks."""
        rows = new_rows(made, existing, ibis.memtable(event_table(events)), TABLE, step).to_pyarrow().to_pylist()
        return {
            (
                row["user_id"],
                (row[EVENT_TIMESTAMP] - START) // WEEK,
                row["feature"],
                (row[CREATED_TIMESTAMP] - START) // WEEK,
            )
            for row in rows
        }

    def test_the_first_step_takes_all_and_a_later_one_its_periods(self) -> None:
        """A row became known at the end of its week; a row of nobody is none."""
        made = self.table(("u", 1, 1.0, None), ("u", 2, 2.0, None), (None, 2, 3.0, None))
        assert self.appended(made, None, Step(None, START + 2 * WEEK)) == {("u", 1, 1.0, 1), ("u", 2, 2.0, 2)}
        step = Step(START + WEEK, START + 2 * WEEK)
        assert self.appended(made, self.table(("u", 1, 9.0, 1)), step) == {("u", 2, 2.0, 2)}

    @pytest.mark.parametrize(
        ("before", "after", "changed"),
        [
            (1.0, 2.0, True),
            (1.0, None, True),
            (None, 1.0, True),
            (1.0, -1.0, True),
            (0.0, 1e-300, True),
            (1.0, 1.0 + 1e-8, True),
            (1.0, float("inf"), True),
            (float("nan"), 1.0, True),
            (1.0, 1.0, False),
            (None, None, False),
            (0.0, -0.0, False),
            (float("nan"), float("nan"), False),
            (0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, False),
            (1e12, 1e12 * (1 + 1e-12), False),
        ],
    )
    def test_a_row_that_changed_gets_another_version(
        self, before: float | None, after: float | None, changed: bool
    ) -> None:
        """The order of a sum of fractions is no change."""
        event = row(0, START, START + 3 * WEEK) | {"user_id": "u"}
        step = Step(START + 2 * WEEK, START + 3 * WEEK, restates=True)
        found = self.appended(self.table(("u", 1, after, None)), self.table(("u", 1, before, 1)), step, event)
        assert found == ({("u", 1, after, 3)} if changed else set())

    def test_a_row_is_compared_with_its_newest_version(self) -> None:
        """So one that returns to an earlier value has changed."""
        existing = self.table(("u", 1, 1.0, 1), ("u", 1, 2.0, 2), ("v", 1, 1.0, 1))
        event = row(0, START, START + 3 * WEEK) | {"user_id": "u"}
        step = Step(START + 2 * WEEK, START + 3 * WEEK, restates=True)
        made = self.table(("u", 1, 1.0, None), ("u", 2, 1.0, None), ("v", 1, 7.0, None))
        assert self.appended(made, existing, step, event) == {("u", 1, 1.0, 3), ("u", 2, 1.0, 3)}

    def test_newest(self) -> None:
        """Of versions the last known, of rows the last week's."""
        rows = self.table(("u", 1, 1.0, 1), ("u", 1, 2.0, 3), ("u", 2, 3.0, 2), (None, 2, 4.0, 2))
        versions = newest_versions(rows, TABLE).to_pyarrow().to_pylist()
        assert sorted(row["feature"] for row in versions) == [2.0, 3.0, 4.0]
        assert newest_rows(rows, TABLE).to_pyarrow()["feature"].to_pylist() == [3.0]

    @pytest.mark.parametrize("name", ["age", "version", "earliest", "found", "newest", "rank", "known"])
    def test_a_feature_may_have_any_name(self, name: str) -> None:
        """It is compared and kept."""
        made, existing = (
            self.table(("u", 1, value, known), ("u", 2, 3.0, known)).rename({name: "feature"})
            for value, known in ((1.0, None), (2.0, 2))
        )
        event = ibis.memtable(event_table([row(0, START, START + 3 * WEEK) | {"user_id": "u"}]))
        step = Step(START + 2 * WEEK, START + 3 * WEEK, restates=True)
        assert new_rows(made, existing, event, TABLE, step).to_pyarrow()[name].to_pylist() == [1.0]
        assert newest_rows(made, TABLE).to_pyarrow()[name].to_pylist() == [3.0]
        assert sorted(newest_versions(existing, TABLE).to_pyarrow()[name].to_pylist()) == [2.0, 3.0]
