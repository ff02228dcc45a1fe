"""Do the features of a household's weeks of purchase say what its events say, counted by hand and by plain Python?"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.adapters.declared_logic import declared_tables
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.adapters.feast_features import DeclaredFeatures
from recsys.ports import RequestTransform, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEMS
from recsys.specs.environment import Limits
from tests.events import write_events

REPOSITORY: Final = Path(__file__).parents[2] / "feature_repo"
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday."""
WEEK: Final = timedelta(weeks=1)
HOUR: Final = timedelta(hours=1)
PREFIXES: Final = ("pair", "line", "category")
CATALOGUE: Final = pa.Table.from_pylist(
    [
        {"item_id": "rye", "line_id": "1/BREAD", "category": "BREAD"},
        {"item_id": "white", "line_id": "2/BREAD", "category": "BREAD"},
        {"item_id": "unnamed"},
    ],
    ITEMS,
)

Row = dict[str, Any]


@cache
def transforms() -> Mapping[str, RequestTransform]:
    """Return the repository's request-time features of the full model, by name."""
    features = DeclaredFeatures(REPOSITORY, "feature_store.yaml").feature_set("basket_cadence")
    return {transform.name: transform for transform in features.transforms}


def bought(week: int, item: str = "rye", *, user: str = "u", late_weeks: int = 0, quantity: float = 1.0) -> Row:
    """Give a purchase in the middle of a week."""
    at = START + week * WEEK + 50 * HOUR
    return {
        "event_id": f"{user}-{item}-{week}",
        "event_type": "purchase",
        "user_id": user,
        "item_id": item,
        "session_id": f"{user}-{week}",
        "quantity": quantity,
        "value": 2.5 * quantity,
        EVENT_TIMESTAMP: at,
        CREATED_TIMESTAMP: at + late_weeks * WEEK,
    }


def table(folder: Path, name: str, rows: Sequence[Row], weeks: int) -> list[Row]:
    """Build a shipped table as of the end of a number of weeks; its rows, oldest first."""
    sources = {"events": write_events(folder / "events.parquet", rows), "items": folder / "items.parquet"}
    pq.write_table(CATALOGUE, sources["items"])
    declared = declared_tables(REPOSITORY / "transforms.py")[name]
    output = folder / name / "until.parquet"
    output.parent.mkdir(parents=True, exist_ok=True)
    step = Step(None, START + weeks * WEEK)
    engine = DuckDBEngine(Limits(threads=1, memory="500MB"), folder / "spill")
    engine.transform(REPOSITORY / "transforms.py", declared, step, sources, folder / name, output)
    return sorted(pq.read_table(output).to_pylist(), key=lambda row: [row[EVENT_TIMESTAMP], row[CREATED_TIMESTAMP]])


def asked(name: str, at: datetime, **known: Any) -> dict[str, float]:
    """Compute one request-time view for one row; whatever is not said is unknown."""
    transform = transforms()[name]
    inputs: dict[str, Any] = {}
    for column in transform.inputs:
        value: Any = at if column == "request_timestamp" else known.get(column)
        if isinstance(value, datetime) or (value is None and column.endswith(("_first", "_last"))):
            moment = np.datetime64("NaT") if value is None else np.datetime64(value.replace(tzinfo=None))
            inputs[column] = np.array([moment], dtype="datetime64[us]")
        else:
            inputs[column] = np.array([math.nan if value is None else value], dtype=float)
    return {column: float(values[0]) for column, values in transform.function(inputs).items()}


class TestCalendar:
    """A state's calendar has a bit for each week of purchase of half a year, counted back from the last."""

    def test_three_weeks_by_hand(self, tmp_path: Path) -> None:
        """Bought in weeks 0, 1 and 4: bits 25, 24 and, once the last is known, 25, 22 and 21."""
        rows = table(tmp_path, "user_item", [bought(0), bought(1), bought(4)], weeks=6)
        assert [row["pair_calendar"] for row in rows] == [2.0**25, 2.0**25 + 2.0**24, 2.0**25 + 2.0**22 + 2.0**21]

    def test_what_lies_half_a_year_back_is_left_out(self, tmp_path: Path) -> None:
        rows = table(tmp_path, "user_item", [bought(0), bought(1), bought(26)], weeks=27)
        assert rows[-1]["pair_calendar"] == 2.0**25 + 2.0**0
        assert rows[-1]["pair_weeks"] == 3

    def test_a_cancelled_week_has_no_bit(self, tmp_path: Path) -> None:
        """Nothing is known where all was cancelled, as of every other feature of the state."""
        rows = table(tmp_path, "user_item", [bought(0), bought(2, quantity=0.0)], weeks=4)
        assert [row["pair_calendar"] for row in rows] == [2.0**25, 2.0**25]
        (row,) = table(tmp_path / "all", "user_item", [bought(0, quantity=0.0)], weeks=4)
        assert row["pair_calendar"] is None

    def test_two_products_of_a_category_share_its_weeks(self, tmp_path: Path) -> None:
        rows = table(tmp_path, "user_category", [bought(0), bought(0, "white"), bought(1, "white")], weeks=3)
        assert [row["item_category"] for row in rows] == ["BREAD", "BREAD"]
        assert rows[-1]["category_calendar"] == 2.0**25 + 2.0**24
        assert rows[-1]["category_baskets"] == 2  # the two products of week 0 were of one basket
        assert rows[-1]["category_quantity"] == 3

    def test_a_product_without_category_is_of_the_unknown(self, tmp_path: Path) -> None:
        """As `item_weekly` calls it, by which candidates are joined."""
        (row,) = table(tmp_path, "user_category", [bought(0, "unnamed")], weeks=1)
        (item,) = table(tmp_path, "item_weekly", [bought(0, "unnamed")], weeks=1)
        assert row["item_category"] == item["item_category"] == "unknown"


@settings(max_examples=12, deadline=None)
@given(
    weeks=st.sets(st.integers(0, 40), min_size=1, max_size=12),
    shopped=st.sets(st.integers(0, 40), max_size=12),
    hours=st.integers(0, 7 * 24 - 1),
)
def test_cadence_is_what_plain_python_counts(
    tmp_path_factory: pytest.TempPathFactory, weeks: set[int], shopped: set[int], hours: int
) -> None:
    """From events through state and request-time view, at any hour of the week that follows the last one."""
    ends = 41
    rows = [bought(week) for week in sorted(weeks)] + [bought(week, "white") for week in sorted(shopped)]
    folder = tmp_path_factory.mktemp("cadence")
    state = [row for row in table(folder, "user_item", rows, ends) if row["item_id"] == "rye"][-1]
    visits = weeks | shopped
    recent = [row for row in table(folder, "user_weekly", rows, ends) if row[EVENT_TIMESTAMP] == START + ends * WEEK]
    user = recent[-1] if recent else {}
    found = asked("cadence", START + ends * WEEK + hours * HOUR, **(user | state))

    for days in (28, 56, 91, 182):
        first = ends - days // 7
        # The calendar reaches half a year back from the last purchase.
        seen = {week for week in weeks if week > max(weeks) - 26}
        assert found[f"pair_weeks_{days}d"] == len([week for week in seen if week >= first])
    for days in (56, 91):
        whole = len([week for week in visits if week >= ends - days // 7])
        share = found[f"pair_weeks_{days}d"] / whole if whole else math.nan
        np.testing.assert_equal(found[f"pair_week_share_{days}d"], share)
    ordered = sorted(week for week in weeks if week > max(weeks) - 26)
    gaps = np.diff(ordered)
    np.testing.assert_equal(found["pair_last_gap_days"], 7.0 * gaps[-1] if len(gaps) else math.nan)
    np.testing.assert_equal(found["pair_shortest_gap_days"], 7.0 * gaps.min() if len(gaps) else math.nan)
    if len(gaps):
        age = (ends - max(weeks)) * 7 + hours / 24 - 50 / 24
        assert found["pair_overdue_by_last"] == pytest.approx(age / (7.0 * gaps[-1]))


def test_cadence_of_somebody_without_a_history() -> None:
    """Counts are 0, for nothing was bought; times and shares are unknown."""
    found = asked("cadence", START)
    assert found.pop("pair_weeks_28d") == 0
    assert {name for name, value in found.items() if not math.isnan(value)} == {
        f"{prefix}_weeks_{days}d" for prefix in PREFIXES for days in (28, 56, 91, 182)
    } - {"pair_weeks_28d"}


def test_affinity_by_hand() -> None:
    """Four days after the category's last purchase and 32 after the product's."""
    at = START + 40 * timedelta(days=1)
    found = asked(
        "affinity",
        at,
        user_baskets=5,
        user_first=START,
        user_last=START + timedelta(days=36),
        pair_baskets=1,
        pair_weeks=1,
        pair_first=START + timedelta(days=8),
        pair_last=START + timedelta(days=8),
        pair_decay_28d_at_last=1,
        category_baskets=3,
        category_weeks=3,
        category_first=START,
        category_last=START + timedelta(days=36),
        category_decay_28d_at_last=2,
        item_baskets_28d=8,
        item_baskets_91d=13,
        item_price_7d=1,
        item_price_91d=2,
        item_returning_7d=3,
        item_buyers_91d=6,
    )
    assert found["category_days_since"] == 4
    assert found["category_gap_days"] == 18  # 36 days between three weeks of purchase
    assert found["category_overdue"] == pytest.approx(4 / 18)
    assert found["category_share"] == 0.6
    assert found["category_since_pair_days"] == 28
    assert found["pair_of_category_weeks"] == pytest.approx(1 / 3)
    assert found["category_decay_28d"] == pytest.approx(2 * 0.5 ** (4 / 28))
    assert found["pair_of_category_28d"] == pytest.approx(0.5 ** (32 / 28) / (2 * 0.5 ** (4 / 28)))
    assert found["pair_rate"] == pytest.approx(1 / 32 * 9)  # one in 32 days, at a basket every 9
    assert found["user_overdue"] == pytest.approx(4 / 9)
    assert found["item_trend_91d"] == 2  # 2 a week against 1
    assert (found["item_price_change"], found["item_returning_now"]) == (0.5, 0.5)
    assert math.isnan(found["pair_of_line_weeks"])
    assert math.isnan(found["line_age_days"])


@pytest.mark.parametrize("name", ["cadence", "affinity"])
def test_lists_give_what_arrays_give(name: str) -> None:
    """Feast hands over lists of Python values and wants lists back."""
    transform = transforms()[name]
    moments = {"request_timestamp": START + 9 * WEEK, "pair_last": START + WEEK, "pair_first": START}
    lists: dict[str, Any] = {column: [moments.get(column, 3.0)] * 2 for column in transform.inputs}
    for column in transform.inputs:
        if column.endswith(("_first", "_last")) and column not in moments:
            lists[column] = [None, None]
    arrays = {
        column: np.array(
            [np.datetime64("NaT") if value is None else np.datetime64(value.replace(tzinfo=None)) for value in values],
            dtype="datetime64[us]",
        )
        if column.endswith(("_first", "_last", "_timestamp"))
        else np.array(values)
        for column, values in lists.items()
    }
    found, wanted = transform.function(lists), transform.function(arrays)
    assert set(found) == set(transform.outputs)
    for column, values in found.items():
        assert isinstance(values, list)
        np.testing.assert_array_equal(values, wanted[column])


class TestWindows:
    """The weekly windows' newer columns."""

    def test_a_household(self, tmp_path: Path) -> None:
        rows = [bought(0), bought(9), bought(9, "white"), bought(12), bought(12, "unnamed", quantity=0.0)]
        newest = table(tmp_path, "user_weekly", rows, weeks=13)[-1]
        assert [newest[f"user_weeks_{days}d"] for days in (28, 56, 91)] == [2, 2, 3]
        assert newest["user_lines_7d"] == 1
        assert newest["user_returning_share_91d"] == 0.5  # rye came back twice in four weeks of products

    def test_a_product(self, tmp_path: Path) -> None:
        """Buyers since the beginning; those of the last week who had bought it before; what it cost then."""
        rows = [bought(0), bought(14), bought(14, user="v"), bought(15, user="v", quantity=2.0)]
        rows[-1]["value"] = 4.0
        by_week = {row[EVENT_TIMESTAMP]: row for row in table(tmp_path, "item_weekly", rows, weeks=17)}
        assert [by_week[START + week * WEEK]["item_buyers"] for week in (1, 15, 16, 17)] == [1, 2, 2, 2]
        assert [by_week[START + week * WEEK]["item_returning_7d"] for week in (1, 15, 16, 17)] == [0, 1, 1, 0]
        assert by_week[START + 16 * WEEK]["item_price_7d"] == 2.0
        assert by_week[START + 17 * WEEK]["item_price_7d"] is None
