"""Is a shop refused that could not keep to its own truth?"""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.specs.simulation import Simulation


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"funnel": {"transfer": 0.9}}, "transfer in arm (no arm): rate, item factor, segment factor and effect"),
        ({"trial": {"arms": {"bold": {"ratio": 1, "effects": {"click": 0.5}}}}}, "click in arm bold"),
        ({"trial": {"arms": {"a": {"ratio": 0.6}, "b": {"ratio": 0.6}}}}, "arm b: ratio 0.6 does not fit its slot"),
        (
            {"trial": {"arms": {"a": {"ratio": 0.1, "slot": [0.5, 1]}, "b": {"ratio": 0.1, "slot": [0.55, 0.9]}}}},
            "slots of arms overlap",
        ),
        ({"trial": {"arms": {"a": {"ratio": 0.00001}}}}, "finer than 1/10,000"),
        ({"trial": {"seed": "x", "arms": {"a": {"ratio": 1}}}}, "has to end in a colon"),
        ({"days": 20, "trial": {"weeks": 4, "arms": {"a": {"ratio": 1}}}}, "lies outside the shop's span"),
        ({"trial": {"start": "2023-12-31", "arms": {"a": {"ratio": 1}}}}, "lies outside the shop's span"),
        ({"trial": {"arms": {"a": {"ratio": 1, "effects": {"pageview": 0.1}}}}}, "Input should be 'click'"),
        ({"start": "2024-01-01T06:00:00"}, "begins at midnight UTC"),
        ({"segments": {"all": {"share": 0.5, "sessions_per_week": 1}}}, "add up to 0.5"),
        ({"assortment": {"items": 20}}, "8 departments, 40 categories, 20 items"),
        ({"page": {"favourites": 0.8, "popular": 0.3}}, "together at most 1"),
        ({"assortment": {"items": 40}, "page": {"slots": 50}}, "a page shows different items, and there are 40"),
        ({"orders": {"late_by": ["3d", "1d"]}}, "shortest <= longest"),
        ({"habits": {"repurchase": "3h"}}, "shorter than a day"),
        ({"season": {"weekly": [0] * 7}}, "not all 0"),
        ({"visitors": 3}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_hold_together_is_refused(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Simulation.model_validate(document)
    assert reason in str(refused.value)


def test_the_trial_lasts_as_declared_or_to_the_end() -> None:
    arms = {"a": {"ratio": 1}}
    whole = Simulation.model_validate({"days": 10, "trial": {"arms": arms}})
    assert whole.trial_span() == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 11, tzinfo=UTC))
    part = Simulation.model_validate({"days": 10, "trial": {"start": "2024-01-03", "weeks": 1, "arms": arms}})
    assert part.trial_span() == (datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 10, tzinfo=UTC))
    assert Simulation().trial_span() is None


@given(st.lists(st.integers(1, 2_500), min_size=1, max_size=4))
def test_slots_follow_one_another_where_none_is_declared(widths: list[int]) -> None:
    arms = {f"arm_{number}": {"ratio": width / 10_000} for number, width in enumerate(widths)}
    trial = Simulation.model_validate({"trial": {"arms": arms}}).trial
    assert trial is not None
    ends = [sum(widths[: number + 1]) for number in range(len(widths))]
    assert list(trial.bucket_ranges().values()) == list(zip([0, *ends[:-1]], ends, strict=True))


def test_a_declaration_survives_being_written_down() -> None:
    simulation = Simulation.model_validate({"trial": {"arms": {"a": {"ratio": 0.5, "effects": {"click": 0.1}}}}})
    assert Simulation.model_validate(simulation.model_dump(mode="json")) == simulation
