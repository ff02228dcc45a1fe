"""Do worth and sparsity follow from the counts, and is an empty funnel read as one?"""

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.problem.chain import chained_sql
from recsys.problem.counts import count
from recsys.problem.figures import Reading, reading
from recsys.problem.rows import Stages
from recsys.specs.environment import Limits
from recsys.specs.funnel import Planning
from tests.problem.naive import STAGES, Row, event, span, table

ENGINE = DuckDBEngine(Limits(memory="500MB", threads=1), Path(tempfile.gettempdir()) / "funnel-tests")
WINDOW = Stages(STAGES, timedelta(days=1))
SESSION = Stages(STAGES, None)


def figures(rows: list[Row], stages: Stages = SESSION) -> Reading:
    within = span(stages)
    chained = ENGINE.query(chained_sql(stages, within), {"events": table(rows)})
    (counted,) = count(ENGINE, chained, stages, within, measure="event", once=False)
    return reading(counted, stages, within, Planning())


def test_value_that_came_without_a_stage_does_not_pass_through_it() -> None:
    rows = [event(1, "view", 30), event(2, "click", 31), event(3, "order", 32, value=6.0)]
    rows += [event(4, "order", 33, session_id=None, value=2.0)]
    rows += [event(5, "view", 34, session_id="s2"), event(6, "order", 35, session_id="s2", value=4.0)]
    found = figures(rows)
    assert [each.value_share for each in found.stages] == pytest.approx([10 / 12, 6 / 12, 1.0])
    assert found.valued
    assert found.stages[2].bypass == pytest.approx(2 / 3)


def test_without_values_events_are_what_passes() -> None:
    rows = [event(1, "view", 30), event(2, "click", 31), event(3, "order", 32), event(4, "order", 50, session_id="s9")]
    found = figures(rows)
    assert not found.valued
    assert [each.value_share for each in found.stages] == [0.5, 0.5, 1.0]


def test_how_often_a_user_comes_plays_no_part_in_the_correlation_per_visit() -> None:
    rows: list[Row] = []
    for user in range(1, 7):
        for visit in range(user):
            names = {"user_id": f"u{user}", "session_id": f"s{visit}"}
            rows += [event(len(rows) + n, kind, 30 + visit, **names) for n, kind in enumerate(STAGES)]
    click = figures(rows).stages[1]
    assert click.correlation == pytest.approx(1.0)
    assert click.correlation_per_visit is None, "every visit brings the same"
    assert figures(rows, WINDOW).stages[1].correlation_per_visit == pytest.approx(1.0), (
        "a user is one visit by a window"
    )


def test_sparsity_is_events_of_who_entered_and_of_a_day() -> None:
    rows = [event(1, "view", 30), event(2, "view", 31, user_id="u2"), event(3, "click", 32), event(4, "click", 33)]
    click = figures(rows).stages[1]
    assert (click.events_per_user, click.events_per_day) == (1.0, 0.5)
    assert (click.from_before, click.from_top) == (0.5, 0.5)


def test_events_that_nobody_entered_for_are_an_empty_funnel() -> None:
    found = figures([event(1, "order", 30)])
    assert (found.users, found.small) == (0, True)
    assert [each.from_before for each in found.stages] == [None, None, None]
    assert [None if each.need is None else each.need.units for each in found.stages] == [None, None, None]
    assert found.stages[2].bypass == 1.0
