"""Do the shipped tables of campaigns and profiles say what was mailed, redeemed and told, week by week?"""

from pathlib import Path
from typing import Any

import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.ports import Step
from recsys.schema import EVENT_TIMESTAMP
from recsys.specs.environment import Limits
from tests.adapters.feature_histories import START, TABLES, WEEK, rows_of, run, write_sources

WEEKS = 20


def event(
    kind: str, weeks: float, campaign: str | None, number: int, user: str = "u0", **changes: Any
) -> dict[str, Any]:
    """Return an event some weeks after the start, known at once."""
    at = START + weeks * WEEK
    return {
        "event_id": f"{kind}-{number}",
        "event_type": kind,
        "user_id": user,
        "session_id": campaign,
        "quantity": 1.0,
        "value": 0.0,
        "event_timestamp": at,
        "created_timestamp": at,
    } | changes


EVENTS = [
    event("mailed", 0.5, "c1", 1),
    event("mailed", 1.5, "c2", 2),
    event("redeemed", 1.6, "c1", 1),
    event("redeemed", 1.7, "c1", 2),
    event("redeemed", 2.5, "c1", 3),
    event("redeemed", 3.5, "c2", 4),
    event("mailed", 0.5, "c3", 3, user="u1"),
    event("mailed", 0.5, "c3", 3, user="u1", quantity=0.0, created_timestamp=START + 0.6 * WEEK),
    event("purchase", 2.5, None, 1, user="nobody we know"),
    event("purchase", WEEKS + 0.5, None, 2),
]


@pytest.fixture
def built(tmp_path: Path) -> dict[str, dict[str, dict[int, dict[str, Any]]]]:
    """Give every row by table, household, and how many weeks after the start it stands."""
    engine, sources = DuckDBEngine(Limits(threads=1), tmp_path / "spill"), write_sources(tmp_path / "sources", EVENTS)
    made: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for name in ("user_campaign", "user_profile"):
        run(engine, TABLES[name], Step(None, START + WEEKS * WEEK), sources, tmp_path / name)
        for row in rows_of(tmp_path / name, TABLES[name]):
            week = (row[EVENT_TIMESTAMP] - START) // WEEK
            made.setdefault(name, {}).setdefault(row["user_id"], {})[week] = row
    return made


def test_campaigns_are_counted_over_13_weeks_and_ever(built: dict[str, Any]) -> None:
    """A campaign that is redeemed twice is one campaign and two coupons."""
    weeks = built["user_campaign"]["u0"]
    counts = ("campaign_mailed", "campaign_mailed_91d", "campaign_coupons", "campaign_coupons_91d", "campaign_redeemed")
    told = {week: tuple(row[name] for name in counts) for week, row in weeks.items()}
    assert told[1] == (1, 1, 0, 0, 0)
    assert told[2] == (2, 2, 2, 2, 1)
    assert told[3] == (2, 2, 3, 3, 1)
    assert told[4] == told[13] == (2, 2, 4, 4, 2)
    assert told[14] == (2, 1, 4, 4, 2), "the first mailing has left the window"
    assert told[15] == (2, 0, 4, 2, 2)
    assert told[17] == (2, 0, 4, 0, 2), "the last row: windows are empty, and sums hold"
    assert max(told) == 17
    assert weeks[1]["campaign_last_redeemed"] is None
    assert weeks[17]["campaign_last_mailed"] == START + 1.5 * WEEK
    assert weeks[17]["campaign_last_redeemed"] == START + 3.5 * WEEK


def test_a_campaign_that_was_called_off_does_not_count(built: dict[str, Any]) -> None:
    row = built["user_campaign"]["u1"][1]
    assert (row["campaign_mailed"], row["campaign_mailed_91d"]) == (0, 0)
    assert row["campaign_last_mailed"] is None
    assert "nobody we know" not in built["user_campaign"], "who was never mailed has no row"


def test_a_profile_stands_from_a_households_first_week_on(built: dict[str, Any]) -> None:
    """What is not told is unknown; a household that users.parquet does not know has a row too."""
    profiles = built["user_profile"]
    assert {user: sorted(weeks) for user, weeks in profiles.items()} == {"u0": [1], "u1": [1], "nobody we know": [3]}
    assert profiles["u0"][1]["profile_age"] == "35-44"
    assert profiles["u0"][1]["profile_income"] == "unknown"
    assert profiles["nobody we know"][3]["profile_age"] == "unknown"
