"""What kind of shop does `recsys simulate` make up?

Every share and rate here is the truth that `truth.json` repeats, so that whatever measures the shop can be checked.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from recsys.specs.base import Duration, Moment, Spec
from recsys.specs.simulated_trial import STAGES, SimulatedArm, Stage, Trial

_DAY: Final = timedelta(days=1)
_WEEK_SHAPE: Final = (0.9, 0.85, 0.9, 0.95, 1.15, 1.3, 0.95)


class Assortment(Spec):
    """The catalogue: departments hold categories, categories hold lines, lines hold items."""

    items: int = Field(default=2_000, ge=10, le=5_000_000)
    """Items in the catalogue."""
    departments: int = Field(default=8, ge=1, le=100)
    """Departments; no more than categories."""
    categories: int = Field(default=40, ge=1, le=1_000)
    """Categories over all departments; no more than items."""
    lines: int = Field(default=6, ge=1, le=100)
    """Lines of a category: each is one maker's range in it."""
    zipf: float = Field(default=0.9, ge=0, le=3)
    """How popularity falls: the item of rank r has a weight of r to the power of minus this; 0 makes all alike."""
    price: float = Field(default=4.0, gt=0)
    """Median price."""
    price_spread: float = Field(default=0.7, ge=0, le=3)
    """Standard deviation of a price's logarithm; half of the variance lies between categories."""
    quality_spread: float = Field(default=0.2, ge=0, lt=1)
    """Each item's rates of click, transfer and purchase are those of the funnel times its own factors, even in
    1 - spread to 1 + spread."""


class Segment(Spec):
    """A kind of users."""

    share: float = Field(gt=0, le=1)
    """Of all users; the shares of all segments add up to 1."""
    sessions_per_week: float = Field(gt=0, le=100)
    """The mean over its users, before seasonality."""
    joins: bool = False
    """Whether its users join on some day of the span, every day alike, instead of being there from the start."""
    conversion: float = Field(default=1.0, gt=0)
    """Factor on its rate of purchase."""


class Habits(Spec):
    """What users like, and how regularly they need it."""

    activity_shape: float = Field(default=2.0, gt=0)
    """Shape of the gamma distribution of users' activity around their segment's mean; smaller means more unequal."""
    taste_shape: float = Field(default=0.5, gt=0)
    """Shape of the gamma distribution of a user's liking for an average category; smaller means choosier."""
    favourites: int = Field(default=12, ge=1, le=200)
    """Items a user buys again and again at any time."""
    loyalty: float = Field(default=0.7, ge=0, le=1)
    """Probability that a favourite is of the user's own line of its category, and not any item of the category."""
    favourite_lasts: Duration = timedelta(days=180)
    """How long an item stays a favourite before another one of its category takes its place."""
    repurchase: Duration = timedelta(days=21)
    """Median time between two needs of a favourite."""
    repurchase_spread: float = Field(default=0.5, ge=0, le=2)
    """Standard deviation of the logarithm of that time over a user's favourites."""
    regularity: float = Field(default=6.0, gt=0)
    """Shape of the gamma distribution of the time between two needs of the same favourite: 1 is memoryless, larger
    is more regular."""

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        for name, length in (("favourite_lasts", self.favourite_lasts), ("repurchase", self.repurchase)):
            if length < _DAY:
                message = f"{name} is shorter than a day, the shortest that the generator tells apart"
                raise ValueError(message)
        return self


class Season(Spec):
    """How the number of sessions moves with time."""

    weekly: tuple[float, float, float, float, float, float, float] = _WEEK_SHAPE
    """Weight of each weekday, Monday first; only their ratios count."""
    yearly: float = Field(default=0.2, ge=0, lt=1)
    """Amplitude of the yearly wave: at its peak there are so many more sessions, half a year later so many fewer."""
    peak: int = Field(default=350, ge=1, le=366)
    """Day of the year of the wave's peak."""
    trend: float = Field(default=0.1, gt=-1, le=10)
    """Relative growth of sessions in a year; 0.1 is 10 % more a year later."""

    @field_validator("weekly")
    @classmethod
    def _weekdays(cls, weekly: tuple[float, ...]) -> tuple[float, ...]:
        if min(weekly) < 0 or sum(weekly) <= 0:
            message = "weights of weekdays are 0 or more, and not all 0"
            raise ValueError(message)
        return weekly


class Page(Spec):
    """What one pageview shows."""

    slots: int = Field(default=10, ge=1, le=100)
    """Items on a page; all different."""
    per_session: float = Field(default=1.5, ge=1, le=4)
    """Mean number of pages in a session; there are at most 8."""
    favourites: float = Field(default=0.5, ge=0, le=1)
    """Share of the slots that the shop fills with the user's favourites."""
    foresight: float = Field(default=0.8, ge=0, le=1)
    """Probability that the shop puts a favourite that is due before those that are not: its present list, and what
    users search for."""
    popular: float = Field(default=0.3, ge=0, le=1)
    """Share of the slots drawn by popularity; the rest is drawn from the catalogue, every item alike."""
    explored: float = Field(default=0.1, ge=0, le=1)
    """Share of the pages in random order: on them a position says nothing about its item. Others are ordered by how
    well items suit the user, with some noise."""
    position_bias: float = Field(default=0.6, ge=0, le=5)
    """A user looks at position p with a probability of p to the power of minus this."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.favourites + self.popular > 1 + 1e-9:
            message = f"favourites {self.favourites} and popular {self.popular} share the slots: together at most 1"
            raise ValueError(message)
        return self


class Appeal(Spec):
    """Probability of a click on an item that the user looks at, by what the item is to the user at that time."""

    due: float = Field(default=0.65, gt=0, le=1)
    """A favourite that is needed now."""
    favourite: float = Field(default=0.08, gt=0, le=1)
    """A favourite that is not."""
    line: float = Field(default=0.06, gt=0, le=1)
    """Another item of a favourite's line."""
    category: float = Field(default=0.04, gt=0, le=1)
    """Another item of a favourite's category."""
    other: float = Field(default=0.015, gt=0, le=1)
    """Anything else."""

    def highest(self) -> float:
        """Return the largest of them."""
        return max(self.due, self.favourite, self.line, self.category, self.other)


class Funnel(Spec):
    """What follows a pageview."""

    click: Appeal = Appeal()
    """Probability of a click on an item that the user looks at."""
    transfer: float = Field(default=0.7, gt=0, le=1)
    """Probability that a click is followed by a transfer: into the basket, or to the seller's own site."""
    purchase: float = Field(default=0.65, gt=0, le=1)
    """Probability that a transfer is followed by an order."""


class Orders(Spec):
    """What becomes of orders, and when the shop knows."""

    more_than_one: float = Field(default=0.25, ge=0, lt=1)
    """Probability of one unit more than so far, from one unit on: the quantity is geometric."""
    late: float = Field(default=0.05, ge=0, le=1)
    """Share of orders that the shop gets to know late; of all others it knows when they happen."""
    late_by: tuple[Duration, Duration] = (timedelta(hours=1), timedelta(days=3))
    """Shortest and longest delay of late orders; even on a logarithmic scale."""
    cancelled: float = Field(default=0.03, ge=0, le=1)
    """Share of orders that are cancelled: stated again with quantity and value 0."""
    cancelled_after: tuple[Duration, Duration] = (timedelta(hours=1), timedelta(days=14))
    """Shortest and longest time from when the shop knew of an order to its cancellation; even on a logarithmic
    scale."""

    @field_validator("late_by", "cancelled_after")
    @classmethod
    def _span(cls, span: tuple[timedelta, timedelta]) -> tuple[timedelta, timedelta]:
        if not timedelta(0) < span[0] <= span[1]:
            message = "a span is [shortest, longest] with 0s < shortest <= longest"
            raise ValueError(message)
        return span


class Simulation(Spec):
    """FILE.yaml: a shop that never was and of which all is known; any file, given to `recsys simulate --spec`."""

    seed: int = Field(default=1, ge=0)
    """The same declaration with the same seed gives the same rows."""
    users: int = Field(default=2_000, ge=1, le=100_000_000)
    """Users over all segments."""
    start: Moment = datetime(2024, 1, 1, tzinfo=UTC)
    """The first day, at midnight UTC."""
    days: int = Field(default=182, ge=1, le=3_660)
    """Days that are generated."""
    assortment: Assortment = Assortment()
    """The catalogue."""
    segments: dict[str, Segment] = Field(
        default={
            "new": Segment(share=0.2, sessions_per_week=1.0, joins=True, conversion=0.8),
            "light": Segment(share=0.55, sessions_per_week=0.8),
            "heavy": Segment(share=0.25, sessions_per_week=3.0, conversion=1.1),
        },
        min_length=1,
    )
    """Kinds of users, by name."""
    habits: Habits = Habits()
    """What users like, and how regularly they need it."""
    season: Season = Season()
    """How the number of sessions moves with time."""
    page: Page = Page()
    """What one pageview shows."""
    funnel: Funnel = Funnel()
    """What follows a pageview."""
    orders: Orders = Orders()
    """What becomes of orders, and when the shop knows."""
    trial: Trial | None = None
    """An experiment with known effects; none by default."""
    exposures: bool = True
    """Whether to write what every page showed: the tables exposures and impressions."""

    complete: bool = False
    """Whether to write too what the shop gets to know after the last day only: late orders and cancellations. Without
    them the events are what an extract at the end of the last day would hold."""

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        shop = self.assortment
        if not shop.departments <= shop.categories <= shop.items:
            message = (
                f"assortment: {shop.departments} departments, {shop.categories} categories, {shop.items} items:"
                " at most as many departments as categories, and categories as items"
            )
            raise ValueError(message)
        if shop.items < self.page.slots:
            message = f"page.slots {self.page.slots}: a page shows different items, and there are {shop.items}"
            raise ValueError(message)
        if self.start.timestamp() % _DAY.total_seconds():
            message = f"start {self.start.isoformat()}: the first day begins at midnight UTC"
            raise ValueError(message)
        shares = sum(segment.share for segment in self.segments.values())
        if abs(shares - 1) > 1e-9:  # noqa: PLR2004 - float noise of decimals
            message = f"segments: their shares add up to {shares:g}; they add up to 1"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _trial_within(self) -> Self:
        begin, end = self.trial_span() or (self.start, self.end)
        if not self.start <= begin < end <= self.end:
            message = (
                f"trial: {begin:%Y-%m-%d} to {end:%Y-%m-%d} lies outside the shop's span,"
                f" {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        """Refuse rates that would have to be cut off at 1: effects would no longer be the declared ones."""
        spread = 1 + self.assortment.quality_spread
        conversion = max(segment.conversion for segment in self.segments.values())
        highest: dict[Stage, float] = {
            "click": self.funnel.click.highest() * spread,
            "transfer": self.funnel.transfer * spread,
            "purchase": self.funnel.purchase * spread * conversion,
        }
        for name, arm in {"(no arm)": SimulatedArm(ratio=1), **(self.trial.arms if self.trial else {})}.items():
            for stage in STAGES:
                most = highest[stage] * (1 + arm.effects.get(stage, 0.0))
                if most > 1:
                    message = (
                        f"{stage} in arm {name}: rate, item factor, segment factor and effect multiply to {most:.3f};"
                        " a probability is at most 1: lower one of them"
                    )
                    raise ValueError(message)
        return self

    @property
    def end(self) -> datetime:
        """The moment at which the last day is over."""
        return self.start + self.days * _DAY

    def trial_span(self) -> tuple[datetime, datetime] | None:
        """Return [start, end) of the trial, or None where there is none."""
        if self.trial is None:
            return None
        begin = self.trial.start or self.start
        return begin, (self.end if self.trial.weeks is None else begin + timedelta(weeks=self.trial.weeks))
