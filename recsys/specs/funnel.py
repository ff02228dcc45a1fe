"""Which stages lead to a problem's target, and by which thresholds is one of them chosen to be modelled?"""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Duration, Spec

Lever = Literal["product", "coupon", "user experience", "ranking"]
"""What a shop can change: what it offers, what it pays, how its pages work, what it shows to whom."""


class Funnel(Spec):
    """The nested stages between being shown and ordering."""

    stages: tuple[str, ...] = Field(min_length=2)
    """Event types from the widest to the narrowest, such as [pageview, click, transfer, order]."""
    within: Literal["session"] | Duration | None = None
    """When a later stage follows an earlier one: session, in the same session; a duration such as 7d, at most so long
    after the unit's latest event of the first stage. The target's horizon by default."""

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        twice = [stage for place, stage in enumerate(self.stages) if stage in self.stages[:place]]
        if twice:
            message = f"stage {twice[0]} stands twice in the funnel; each stage is another event type"
            raise ValueError(message)
        if isinstance(self.within, timedelta) and self.within <= timedelta(0):
            message = "within is longer than 0, or session"
            raise ValueError(message)
        return self


class Planning(Spec):
    """By which thresholds `recsys funnel` recommends a stage, and which experiment it plans."""

    minimum_effect: float = Field(default=0.1, gt=0, le=1)
    """The relative effect that an experiment has to show at any stage; 0.1 is 10 % more."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Its two-sided error rate."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Its probability of finding the effect if it is there."""
    traffic: float = Field(default=1.0, gt=0, le=1)
    """Share of the units that come that it takes, in two arms of the same size."""
    covariate_weeks: int = Field(default=4, ge=0, le=52)
    """Weeks before it by which CUPED narrows it; 0 for none."""
    past: Duration = timedelta(weeks=13)
    """How far the funnel looks back, where `--from` does not say."""
    maximum_days: int = Field(default=56, ge=1, le=3_660)
    """A stage that needs more days than these cannot be tested."""
    minimum_events: int = Field(default=500, ge=1)
    """A stage with fewer events in the past is too sparse to learn from."""
    minimum_share: float = Field(default=0.8, ge=0, le=1)
    """A stage through which less of the final value passes does not stand for it."""
    minimum_correlation: float = Field(default=0.4, ge=-1, le=1)
    """Nor does one whose correlation with the final stage, over units and at equal visits, is below this."""
    minimum_entry: float = Field(default=0.05, ge=0, le=1)
    """Where fewer of the known units reach the first stage, everything is lost before any list is shown."""
    weak_below: float = Field(default=0.3, ge=0, le=1)
    """A stage that fewer of those before it reach is weak."""
    maximum_bypass: float = Field(default=0.2, ge=0, le=1)
    """Stages of whose events more come without the stage before are not nested."""
    small_segment: int = Field(default=200, ge=1)
    """A segment with fewer units in the first stage is small: nothing is recommended for it."""
    levers: dict[str, Lever] = Field(default_factory=dict)
    """What a weak stage points to, by stage. Of lists by default: the first stage product, the second ranking, the
    last user experience, those between product; where units are selected: product, then coupon."""
