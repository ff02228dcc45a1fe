"""What is to be predicted, for whom, over which horizon, and how good is measured?"""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Duration, Spec
from recsys.specs.funnel import Funnel, Planning
from recsys.specs.metric import LIST_METRICS, Metric, reach_metrics


class Owners(Spec):
    """Who answers for the problem."""

    product: str
    """The team that owns the business issue."""
    engineering: str
    """The team that owns the models."""


class EntityPair(Spec):
    """What a prediction is about."""

    unit: str = "user_id"
    """The join key of the unit that is served and analysed."""
    item: str | None = "item_id"
    """The join key of what is ranked for a unit; null when the units themselves are ranked."""


class Target(Spec):
    """The event that makes a label."""

    event: str
    """The event type that counts as a positive, such as `purchase`."""
    horizon: Duration
    """How long after the decision time the event may happen: (t, t + horizon]."""
    settle_delay: Duration = timedelta(0)
    """How long after the horizon cancellations may still restate an event; younger rows are immature."""
    measure: Literal["event", "count", "amount"] = "event"
    """What the label is: event, whether it happened (0 or 1); count, its quantity; amount, its value in the shop's
    currency. Count and amount are what a regression predicts."""


class Channel(Spec):
    """Where predictions go, and how many fit: exactly one of `k` and `capacity`."""

    k: int | None = Field(default=None, ge=1, le=1000)
    """Slots in each unit's list: the metrics are @k per user."""
    capacity: int | None = Field(default=None, ge=1)
    """Units that can be reached at all: the metrics are @capacity over one list of units."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.k is None) == (self.capacity is None):
            message = "a channel has either k (slots a unit) or capacity (units in all)"
            raise ValueError(message)
        return self


class Problem(Spec):
    """registry/problems/<problem>.yaml: a business issue turned into an ML problem."""

    business_issue: str
    """One sentence a shopkeeper would sign."""
    owners: Owners
    """Who answers for it."""
    entity: EntityPair = EntityPair()
    """What a prediction is about."""
    target: Target
    """What makes a label, and over which horizon."""
    funnel: Funnel | None = None
    """The nested stages that lead to the target, where there are any."""
    planning: Planning = Planning()
    """By which thresholds `recsys funnel` recommends a stage, and which experiment it plans."""
    formulation: Literal["ranking", "classification", "regression"]
    """ranking orders items within a unit; classification and regression give scores that compare across units."""
    channels: dict[str, Channel] = Field(min_length=1)
    """Where the predictions are used; the channel decides the metric."""
    guardrails: tuple[str, ...] = ()
    """Metrics that must not fall while the primary one rises, such as coverage@10."""
    item_segment: str | None = None
    """A column of the item table, such as department, by which results are told apart."""

    @property
    def lists(self) -> bool:
        """Whether items are ranked for each unit; otherwise the units themselves are, in one list."""
        return self.entity.item is not None

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        capacities = [name for name, channel in self.channels.items() if channel.capacity]
        slots = [name for name, channel in self.channels.items() if channel.k]
        if self.formulation == "ranking" and capacities:
            message = (
                f"channel {capacities[0]} has a capacity, and the formulation is ranking: scores of a"
                " ranking do not compare across units; use classification or regression"
            )
            raise ValueError(message)
        if self.lists and capacities:
            message = (
                f"channel {capacities[0]} has a capacity, which selects units, and entity.item is"
                f" {self.entity.item}: a problem that selects units has `item: null`"
            )
            raise ValueError(message)
        if not self.lists and slots:
            message = f"channel {slots[0]} has k, slots of a list of items, and entity.item is null: give a capacity"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _levered(self) -> Self:
        stages = self.funnel.stages if self.funnel else (self.target.event,)
        for stage in self.planning.levers:
            if stage not in stages:
                message = f"planning.levers names {stage}, which is no stage; the stages are {', '.join(stages)}"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        measured = self.target.measure != "event"
        if measured != (self.formulation == "regression"):
            message = (
                f"target.measure is {self.target.measure} and the formulation {self.formulation}: a regression"
                " predicts a count or an amount, a ranking or classification an event"
            )
            raise ValueError(message)
        return self

    def metrics(self) -> tuple[Metric, ...]:
        """Return what the channels measure: lists @k per user, or one list of units @capacity; in a fixed order."""
        if self.lists:
            sizes = sorted({channel.k for channel in self.channels.values() if channel.k})
            return tuple(Metric(name, size, "user") for size in sizes for name in LIST_METRICS)
        sizes = sorted({channel.capacity for channel in self.channels.values() if channel.capacity})
        names = reach_metrics(measured=self.target.measure != "event")
        return tuple(Metric(name, size, "global") for size in sizes for name in names)
