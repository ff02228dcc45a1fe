"""Which traffic do several experiments share without meeting one another, and who is in none of them?"""

from typing import Literal

from pydantic import Field, field_validator

from recsys.specs.base import Spec
from recsys.specs.traffic import bucket_range, checked_seed, checked_share


class Layer(Spec):
    """registry/layers/<layer>.yaml: traffic that experiments share; a unit is in one of them at most."""

    seed: str = Field(min_length=1)
    """Hashed before the unit's id, to find its place in the layer; fixed while an experiment of the layer runs. Ends
    in a colon; no experiment and no other layer has the same."""
    unit: Literal["user_id", "session_id"] = "user_id"
    """What is assigned; the unit of all its experiments."""
    holdout: tuple[float, float] | None = None
    """[from, to) of the layer that no experiment ever takes: its units get the placement's default model in all of
    them."""

    @field_validator("seed")
    @classmethod
    def _seed_ends(cls, seed: str) -> str:
        return checked_seed(seed)

    @field_validator("holdout")
    @classmethod
    def _holdout(cls, share: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if share is None else checked_share(share, "a holdout")

    def holdout_range(self) -> tuple[int, int]:
        """Return [from, to) of the holdout in buckets, of equal ends where there is none."""
        return (0, 0) if self.holdout is None else bucket_range(self.holdout)
