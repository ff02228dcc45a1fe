"""Does every candidate of a request have what the caller said, and what is it where nothing was said?"""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.candidates.pool import to_numpy
from recsys.errors import ContextError
from recsys.modeling.moments import Moments
from recsys.modeling.shown import shown_requests, shown_slots
from recsys.ports import Columns
from recsys.schema import ITEM, REQUEST_ID
from recsys.serving.ranking import feature_digest
from tests.fakes.event_log import FakeEventLog
from tests.fakes.ranker import FakeRanker
from tests.serving.small_shop import CONTEXT, DAY, NOW, placement
from tests.serving.test_resolver import Hooked, World, world

FITS = FakeRanker((("fits", 1.0),))
SAID = {"device": "phone", "basket_value": 3.9, "since": (NOW - timedelta(hours=2)).isoformat()}


def reading(seen: list[Columns] | None = None) -> World:
    """Make a world whose champion orders by what is near to the basket's value, and notes what it read."""
    made = world(changes={"context": CONTEXT, "k": 5})
    made.register("basket/v4", Hooked(FITS, [].append if seen is None else seen.append), "logic-v4", "champion")
    made.resolver.refresh()
    return made


def test_what_was_said_decides_and_is_logged() -> None:
    seen: list[Columns] = []
    made = reading(seen)
    answer = made.answer(context=SAID)
    assert "".join(item.item_id for item in answer.exposure.items) == "cdbea"
    assert answer.exposure.asked == {"k": 5, "context": SAID}
    assert set(seen[-1]["device_now"]) == {"phone"}
    assert set(seen[-1]["hours_since"]) == {2.0}
    assert made.shown(context={"basket_value": 1}) == "aedcb"


def test_what_was_not_said_is_unknown() -> None:
    seen: list[Columns] = []
    made = reading(seen)
    answer = made.answer()
    assert answer.exposure.fallback is None
    assert answer.exposure.asked == {"k": 5}
    assert set(seen[-1]["device_now"]) == {"unknown"}
    assert np.isnan(seen[-1]["fits"]).all()
    assert np.isnan(seen[-1]["hours_since"]).all()
    answer = made.answer(context={"device": "phone"})
    assert answer.exposure.asked == {"k": 5, "context": {"device": "phone"}}
    assert set(seen[-1]["device_now"]) == {"phone"}
    assert np.isnan(seen[-1]["fits"]).all()


def test_new_weights_are_warmed_up_without_a_context() -> None:
    made = world(changes={"context": CONTEXT})
    made.register("basket/v4", FITS, "logic-v4", "champion")
    made.resolver.follow()
    assert made.resolver.state.refused == {}
    assert made.answer(context=SAID).exposure.model_version == "basket/v4"


@pytest.mark.parametrize("context", [{"colour": "red"}, {"device": 3}, {"basket_value": "3"}])
def test_what_the_placement_does_not_take_is_refused(context: dict[str, Any]) -> None:
    with pytest.raises(ContextError, match=rf"^context\.{next(iter(context))}: "):
        reading().answer(context=context)


def test_a_placement_without_a_context_takes_none() -> None:
    with pytest.raises(ContextError, match="declared: nothing"):
        world().answer(context={"device": "phone"})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "device": st.sampled_from(["phone", "desk", "unknown"]),
            "basket_value": st.floats(-1e3, 1e3),
            "since": st.datetimes().map(lambda at: at.isoformat() + "Z"),
        },
    )
)
def test_a_training_row_of_a_shown_list_reads_what_its_request_read(context: dict[str, Any]) -> None:
    """The same digest of the same columns, by way of the log and of the join."""
    made = reading()
    made.clock.advance(timedelta(hours=1))
    exposure = made.answer(context=context, request_id="r1").exposure
    log = FakeEventLog()
    log.write_exposures([exposure])
    slots = shown_slots(log, "home", NOW, NOW + DAY, CONTEXT)
    taken = slots.select([REQUEST_ID, ITEM]).slice(0, 0)
    home = placement(context=CONTEXT)
    rows = shown_requests(Moments(made.features), home, slots, taken, timedelta(days=7), [], tuple(CONTEXT)).rows
    wanted = made.features.feature_set("moment")
    joined = made.features.historical(rows, wanted)
    assert joined[ITEM].to_pylist() == [item.item_id for item in exposure.items]
    columns = {name: to_numpy(joined[name]) for name in wanted.columns}
    assert feature_digest(columns, np.arange(len(joined))) == exposure.feature_digest
