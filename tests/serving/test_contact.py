"""Is nobody contacted who said no, or nothing, who is held out, or who was forgotten?"""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from recsys.data.forgotten import tombstone
from recsys.experiment.bucketing import bucket
from recsys.ports import ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, TIMESTAMP, USER
from recsys.serving.contact import Contactable, contactable
from recsys.specs.layer import Layer
from recsys.specs.placement import Audience, Pool
from tests.fakes.features import FakeFeatures
from tests.serving.small_shop import DAY, NOW, TICK, row

ACTIVE = ViewInfo("active", (USER,), ("visits",), {"visits": "number"}, None)
CONSENT = ViewInfo("consent", (USER,), ("may_sms",), {"may_sms": "number"}, 30 * DAY)
USERS = [f"u{number:02d}" for number in range(40)]
AUDIENCE = Audience(
    problem="p",
    model="m",
    units=Pool(view="active", feature="visits"),
    contact={"sms": Pool(view="consent", feature="may_sms"), "letter": None},
)


def shop(*said: dict[str, Any], at: datetime = NOW) -> FakeFeatures:
    """Give forty active users, and what some of them said of messages."""
    clocks = [(EVENT_TIMESTAMP, TIMESTAMP), (CREATED_TIMESTAMP, TIMESTAMP), (USER, pa.string())]
    active = [row(NOW, user_id=user, visits=1.0) for user in USERS]
    tables = {
        "active": pa.Table.from_pylist(active, pa.schema([*clocks, ("visits", pa.float64())])),
        "consent": pa.Table.from_pylist(list(said), pa.schema([*clocks, ("may_sms", pa.float64())])),
    }
    made = FakeFeatures((ACTIVE, CONSENT), tables)
    made.materialize(at)
    return made


def said(user: str, may: float | None, at: datetime = NOW) -> dict[str, Any]:
    return row(at, user_id=user, may_sms=may)


def reached(found: Contactable) -> list[str]:
    return [user for user, may in zip(found.units.to_pylist(), found.reachable.tolist(), strict=True) if may]


def test_only_who_said_yes_is_contacted_and_a_yes_ends_with_its_ttl() -> None:
    """No, an unknown answer, no row at all and a yes that is too old are all a no."""
    features = shop(
        said("u00", 1.0),
        said("u01", 0.0),
        said("u02", None),
        said("u03", 1.0, NOW - 30 * DAY),
        said("u04", 1.0, NOW - 30 * DAY - TICK),
        said("stranger", 1.0),
    )
    found = contactable(features, AUDIENCE, "sms", [], frozenset(), NOW)
    assert reached(found) == ["u00", "u03"]
    assert (len(found.units), found.opted_out, found.held_out) == (40, 38, 0)


def test_a_channel_that_asks_nobody_contacts_everybody() -> None:
    found = contactable(shop(), AUDIENCE, "letter", [], frozenset(), NOW)
    assert reached(found) == USERS
    assert found.opted_out == 0


def test_the_newest_answer_counts() -> None:
    yes_then_no = [said("u00", 1.0, NOW - 2 * DAY), said("u00", 0.0, NOW - DAY)]
    assert reached(contactable(shop(*yes_then_no), AUDIENCE, "sms", [], frozenset(), NOW)) == []
    assert reached(contactable(shop(*yes_then_no[:1]), AUDIENCE, "sms", [], frozenset(), NOW)) == ["u00"]


@pytest.mark.parametrize("share", [(0.0, 0.25), (0.5, 0.9), (0.0, 1.0)])
def test_a_holdout_is_not_reached_and_counted_beside_the_opt_outs(share: tuple[float, float]) -> None:
    first, last = (round(10_000 * each) for each in share)
    one = Layer(seed="campaigns:", holdout=share)
    held = {user for user in USERS if first <= bucket("campaigns:", user) < last}
    found = contactable(shop(), AUDIENCE, "letter", [one], frozenset(), NOW)
    assert reached(found) == [user for user in USERS if user not in held]
    assert (found.opted_out, found.held_out) == (0, len(held))
    willing = USERS[:10]
    both = contactable(shop(*(said(user, 1.0) for user in willing)), AUDIENCE, "sms", [one], frozenset(), NOW)
    assert reached(both) == [user for user in willing if user not in held]
    assert (both.opted_out, both.held_out) == (30, len(held & set(willing)))


def test_of_two_layers_both_holdouts_are_kept() -> None:
    layers = [Layer(seed="one:", holdout=(0.0, 0.3)), Layer(seed="two:", holdout=(0.7, 1.0))]
    found = contactable(shop(), AUDIENCE, "letter", layers, frozenset(), NOW)
    assert reached(found) == [user for user in USERS if bucket("one:", user) >= 3000 and bucket("two:", user) < 7000]


def test_who_was_forgotten_is_not_even_eligible() -> None:
    """Although a row of theirs is still, or again, online."""
    found = contactable(shop(), AUDIENCE, "letter", [], frozenset({tombstone("u07")}), NOW)
    assert found.units.to_pylist() == [user for user in USERS if user != "u07"]
    assert reached(found) == found.units.to_pylist()
