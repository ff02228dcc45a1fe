"""What experiment runs in a made-up shop, and what does each of its arms truly do?"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.specs.base import Moment, Spec
from recsys.specs.traffic import RATIO_UNITS, checked_seed, to_buckets

Stage = Literal["click", "transfer", "purchase"]
STAGES: Final[tuple[Stage, ...]] = ("click", "transfer", "purchase")
"""The stages after a pageview, in their order."""


class SimulatedArm(Spec):
    """One arm of the trial and what it truly does."""

    ratio: float = Field(gt=0, le=1)
    """Share of all users in this arm."""
    slot: tuple[float, float] | None = None
    """[from, to) of the traffic that belongs to the arm; its ratio by default, after the slots before it."""
    effects: dict[Stage, Annotated[float, Field(gt=-1, le=10)]] = Field(default_factory=dict)
    """True relative change of the rates of click, transfer and purchase; 0.1 is 10 % more. None by default."""


class Trial(Spec):
    """An experiment in the shop, with known effects."""

    name: str = "trial"
    """As an experiment's declaration would be called."""
    seed: str = Field(default="trial-1:", min_length=1)
    """Hashed before the user's id, as in experiments; ends in a colon."""
    start: Moment | None = None
    """The first moment of the trial; by default the shop's."""
    weeks: int | None = Field(default=None, ge=1)
    """Whole weeks it runs; by default up to the shop's end."""
    arms: dict[str, SimulatedArm] = Field(min_length=1)
    """By name; users outside their slots are in no arm."""

    @field_validator("seed")
    @classmethod
    def _seed_ends(cls, seed: str) -> str:
        return checked_seed(seed)

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        taken = [bucket for first, last in self.bucket_ranges().values() for bucket in range(first, last)]
        if len(taken) != len(set(taken)):
            message = "slots of arms overlap; slots are disjoint"
            raise ValueError(message)
        return self

    def bucket_ranges(self) -> dict[str, tuple[int, int]]:
        """Return [from, to) in buckets of 1/10,000 that each arm takes."""
        ranges, free = {}, 0
        for name, arm in self.arms.items():
            width = to_buckets(arm.ratio)
            first, last = (free, free + width) if arm.slot is None else map(to_buckets, arm.slot)
            if not 0 <= first <= first + width <= last <= RATIO_UNITS:
                message = f"arm {name}: ratio {arm.ratio} does not fit its slot: 0 <= from, from + ratio <= to <= 1"
                raise ValueError(message)
            ranges[name] = (first, first + width)
            free = last
        return ranges
