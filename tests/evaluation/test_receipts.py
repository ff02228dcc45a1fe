"""Lost exposures are told from duplicated ones, by the decisions that a service counted."""

from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from recsys import schema
from recsys.evaluation.health import Health, check_health
from recsys.evaluation.part import Part
from tests.evaluation.test_health import ARMS, EXPERIMENT, NOW, START, UNITS, rows_of, table_of
from tests.fakes.engine import FakeEngine

HOUR: Final = timedelta(hours=1)
IN_ARMS: Final = [unit for unit in UNITS if ARMS[unit]]
BOTH: Final = {arm: [unit for unit in IN_ARMS if ARMS[unit] == arm] for arm in ("control", "treatment")}


def counts(decided: dict[str, int], at: datetime = START, **excused: int) -> pa.Table:
    """Return what services counted in one hour."""
    rows = [
        {"arm": arm, "period": at, "decided": count, "excused": excused.get(arm, 0)} for arm, count in decided.items()
    ]
    return pa.Table.from_pylist(rows, schema.ROUTED)


def check(rows: list[dict[str, Any]], routed: pa.Table, **options: Any) -> Health:
    return check_health(FakeEngine(), "e", EXPERIMENT, table_of(rows), routed=routed, **({"now": NOW} | options))


def decided() -> dict[str, int]:
    return {arm: len(units) for arm, units in BOTH.items()}


def test_every_decision_that_was_received_is_sound() -> None:
    found = check(rows_of(UNITS), counts(decided()))
    assert found.healthy
    assert found.receipts is not None
    assert found.receipts.decided == found.receipts.received == decided()
    assert (found.receipts.hours, sum(found.receipts.lost.values())) == (1, 0)


def test_lost_exposures_are_told_by_arm_though_the_split_is_even() -> None:
    """One in fifty of both arms: no sample ratio can tell, and one in a thousand is within the limit."""
    kept = [unit for units in BOTH.values() for number, unit in enumerate(units) if number % 50]
    found = check(rows_of(kept), counts(decided()))
    assert found.receipts is not None
    lost = {arm: -(-len(units) // 50) for arm, units in BOTH.items()}
    assert found.receipts.lost == lost
    assert not any(found.duplicated_exposures.values())
    words = f"Of {len(BOTH['control'])} decisions for control, {lost['control']} exposures (2.0%) were lost"
    assert len(found.failures) == 2
    assert found.failures[0].startswith(words), found.failures
    few = check(rows_of([unit for unit in UNITS if unit != BOTH["control"][0]]), counts(decided()))
    assert few.healthy
    assert few.receipts is not None
    assert few.receipts.lost == {"control": 1, "treatment": 0}


def test_duplicated_exposures_do_not_hide_lost_ones() -> None:
    """As many copies as losses: the rows are as many as the decisions."""
    rows = rows_of(UNITS)
    numbered = [row | {"request_id": str(number)} for number, row in enumerate(rows)]
    tenth = len(numbered) // 10
    found = check([*numbered[tenth:], *numbered[-tenth:]], counts(decided()))
    assert found.receipts is not None
    assert sum(found.exposures.values()) == sum(decided().values())
    assert sum(found.receipts.lost.values()) == tenth == sum(found.duplicated_exposures.values())
    assert any("exposures (" in failure and "were lost" in failure for failure in found.failures)
    assert any("stand twice under one request id" in failure for failure in found.failures)


def test_copies_under_other_request_ids_were_never_decided() -> None:
    copies = rows_of(BOTH["control"][:40])
    found = check([*rows_of(UNITS), *copies], counts(decided()))
    assert found.receipts is not None
    assert found.receipts.undecided == {"control": 40, "treatment": 0}
    assert not any(found.duplicated_exposures.values())
    (failure,) = found.failures
    assert "40 were logged and never decided" in failure


def test_requests_that_were_asked_again_and_users_that_were_forgotten_are_not_lost() -> None:
    more = {arm: count + 100 for arm, count in decided().items()}
    assert check(rows_of(UNITS), counts(more, control=100, treatment=100)).healthy


def test_hours_that_nobody_counted_are_not_compared() -> None:
    """An experiment that was replayed, or imported before a service began to count, lost nothing."""
    rows = rows_of(UNITS)
    assert check(rows, counts({})).receipts is None
    assert check(rows, counts({"control": 0, "treatment": 0}, control=3)).receipts is None, "only who was forgotten"
    later = START + 30 * HOUR
    half = [*rows, *rows_of(IN_ARMS[:200], event_timestamp=later + HOUR / 2)]
    seen = {arm: sum(ARMS[unit] == arm for unit in IN_ARMS[:200]) for arm in BOTH}
    found = check(half, counts(seen, later))
    assert found.healthy
    assert found.receipts is not None
    assert (found.receipts.hours, found.receipts.received) == (1, seen)


def test_an_hour_that_is_not_over_is_not_compared_while_the_experiment_runs() -> None:
    routed = counts(decided(), START + HOUR)
    rows = rows_of(UNITS[:100], event_timestamp=START + HOUR)
    assert check(rows, routed, now=START + 1.5 * HOUR).receipts is None
    assert check(rows, routed, now=START + 2 * HOUR).receipts is not None


def test_the_hours_of_a_part_are_whole() -> None:
    def compared(start: datetime, end: datetime) -> bool:
        part = Part(start, end)
        return check(rows_of(UNITS), counts(decided()), part=part).receipts is not None

    assert compared(START, START + HOUR)
    assert not compared(START + HOUR / 2, START + 3 * HOUR)
    assert not compared(START, START + HOUR / 2)


def test_an_experiment_may_start_and_end_within_an_hour() -> None:
    plan = EXPERIMENT.plan.model_copy(update={"start": START + HOUR / 2, "end": START + HOUR * 0.75})
    part_of_an_hour = EXPERIMENT.model_copy(update={"plan": plan})
    rows = table_of(rows_of(UNITS, event_timestamp=START + HOUR * 0.6))
    found = check_health(FakeEngine(), "e", part_of_an_hour, rows, now=NOW, routed=counts(decided()))
    assert found.healthy
    assert found.receipts is not None
    assert found.receipts.received == decided()
