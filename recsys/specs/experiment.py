"""Which arms are compared, on whom, by which metrics, and until when?"""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.specs.base import Moment, PlacedError, Spec
from recsys.specs.problem import Owners
from recsys.specs.traffic import RATIO_UNITS, bucket_range, checked_seed, checked_share, to_buckets


class Arm(Spec):
    """One version in the comparison, and the share of traffic it may take."""

    model_version: str
    """The logic this arm serves, `<model>/<version>`."""
    slot: tuple[float, float]
    """[from, to) of the traffic that belongs to this arm for the life of the seed."""
    ratio: float = Field(gt=0, le=1)
    """The share of all traffic it takes now, counted from the slot's start; growing it moves nobody."""

    @field_validator("slot")
    @classmethod
    def _slot(cls, slot: tuple[float, float]) -> tuple[float, float]:
        return checked_share(slot, "a slot")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        width = to_buckets(self.slot[1]) - to_buckets(self.slot[0])
        if to_buckets(self.ratio) > width:
            message = f"ratio {self.ratio} is larger than its slot, which is {width / RATIO_UNITS} wide"
            raise ValueError(message)
        return self

    def bucket_range(self) -> tuple[int, int]:
        """Return [from, to) in buckets that the arm takes at its present ratio."""
        first = to_buckets(self.slot[0])
        return first, first + to_buckets(self.ratio)

    def slot_range(self) -> tuple[int, int]:
        """Return [from, to) in buckets that belong to the arm for the life of the seed."""
        return bucket_range(self.slot)


class LayerRange(Spec):
    """The part of a layer that an experiment has to itself."""

    name: str
    """The layer, `registry/layers/<name>.yaml`."""
    range: tuple[float, float]
    """[from, to) of the layer's traffic, by the layer's seed; the arms share out what lies in it."""

    @field_validator("range")
    @classmethod
    def _range(cls, share: tuple[float, float]) -> tuple[float, float]:
        return checked_share(share, "a range")

    def bucket_range(self) -> tuple[int, int]:
        """Return [from, to) in buckets of the layer."""
        return bucket_range(self.range)


class PrimaryMetric(Spec):
    """The one metric that decides."""

    name: str
    """Such as precision@10."""
    minimum_effect: float = Field(gt=0)
    """The smallest effect worth shipping, in units of `scale`."""
    scale: Literal["relative", "absolute"] = "relative"
    """Whether effects are shares of the control's mean, or differences."""
    direction: Literal["higher_is_better", "lower_is_better"] = "higher_is_better"
    """Which way is good."""


class Guardrail(Spec):
    """A metric that must not be harmed by more than its margin."""

    name: str
    """Such as mrr@10."""
    margin: float = Field(gt=0)
    """The largest harm that is still acceptable, in units of `scale`."""
    scale: Literal["relative", "absolute"] = "relative"
    """Whether effects are shares of the control's mean, or differences."""
    direction: Literal["higher_is_better", "lower_is_better"] = "higher_is_better"
    """Which way is good."""


class Metrics(Spec):
    """What is measured, and what for."""

    primary: PrimaryMetric
    """The metric that decides."""
    guardrails: tuple[Guardrail, ...] = ()
    """Metrics that must not be harmed."""
    secondary: tuple[str, ...] = ()
    """Reported beside the primary and not decided on."""
    secondary_control: Literal["fdr", "fwer"] = "fdr"
    """Which error is kept over all secondary metrics and treatments together: fdr, the share of those called moved that
    are not (Benjamini and Hochberg); fwer, that any is (Holm). Primary and guardrails are not adjusted."""
    covariate_weeks: int = Field(default=4, ge=0, le=52)
    """Weeks before the start in which the default model's metric is taken as each unit's covariate (CUPED); 0 for
    none."""

    def names(self) -> tuple[str, ...]:
        """Return the metrics named, the primary first; one may play several roles."""
        return (self.primary.name, *(guardrail.name for guardrail in self.guardrails), *self.secondary)


class Plan(Spec):
    """How large, how long, and how sure."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Two-sided error rate."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Probability of finding the minimum effect if it is there."""
    units: int = Field(ge=2)
    """Units over all arms that must have been exposed before the decision is cut."""
    start: Moment
    """The first moment of the experiment."""
    weeks: int = Field(ge=1, le=52)
    """Whole weeks the experiment runs."""
    end: Moment | None = None
    """An end before those weeks are over, in the middle of a week too: the experiment is stopped there."""

    @model_validator(mode="after")
    def _ends_in_its_weeks(self) -> Self:
        full = self.start + timedelta(weeks=self.weeks)
        if self.end is not None and not self.start < self.end <= full:
            message = (
                f"end {self.end.isoformat()} has to lie after the start, {self.start.isoformat()}, and not after its"
                f" {self.weeks} weeks, {full.isoformat()}"
            )
            raise ValueError(message)
        return self

    def window(self) -> tuple[datetime, datetime]:
        """Return [start, end) of the experiment."""
        return self.start, self.end or self.start + timedelta(weeks=self.weeks)


class Experiment(Spec):
    """registry/experiments/<experiment>.yaml: one comparison, from its hypothesis to its plan."""

    hypothesis: str
    """One sentence that the experiment can refute."""
    owners: Owners | None = None
    """Who answers for it; by default who answers for the problem of its placement."""
    placement: str
    """The placement whose traffic is split."""
    unit: Literal["user_id", "session_id"] = "user_id"
    """What is assigned and analysed."""
    seed: str = Field(min_length=1)
    """Hashed before the unit's id; never chosen for its outcome, fixed once started. Ends in a colon."""
    layer: LayerRange | None = None
    """The layer whose traffic it shares with others, and its part of it; by default all traffic of the placement."""
    control: str = "control"
    """The arm the others are compared with."""
    arms: dict[str, Arm] = Field(min_length=2)
    """By name; their slots are disjoint, and traffic outside them gets the placement's default model."""
    overrides: dict[str, str] = Field(default_factory=dict)
    """Unit id to arm: testers, served but not analysed."""
    metrics: Metrics
    """What is measured, and what for."""
    plan: Plan
    """How large, how long, and how sure."""

    @field_validator("seed")
    @classmethod
    def _seed_ends(cls, seed: str) -> str:
        return checked_seed(seed)

    @model_validator(mode="after")
    def _arms_hold(self) -> Self:
        if self.control not in self.arms:
            raise PlacedError(("control",), self.control, f"not an arm; the arms are {', '.join(self.arms)}")
        ordered = sorted((arm.slot_range(), name) for name, arm in self.arms.items())
        for (left, left_name), (right, right_name) in pairwise(ordered):
            if right[0] < left[1]:
                shared = [right[0] / RATIO_UNITS, min(left[1], right[1]) / RATIO_UNITS]
                first, second = (list(self.arms[name].slot) for name in (left_name, right_name))
                rule = f"overlaps {left_name}'s {first} in {shared}; slots are disjoint"
                raise PlacedError(("arms", right_name, "slot"), second, rule)
        for unit, arm in self.overrides.items():
            if arm not in self.arms:
                raise PlacedError(("overrides", unit), arm, f"not an arm; the arms are {', '.join(self.arms)}")
        return self
