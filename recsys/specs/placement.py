"""Where is a list shown, what may stand in it, and who fills it by default?"""

from typing import Annotated, Literal

from pydantic import Field

from recsys.specs.base import Spec


class Personal(Spec):
    """The unit's own history: the items it has a row with in a unit × item view."""

    source: Literal["personal"]
    """Chooses the unit's own history."""
    view: str
    """A feature view with the unit and the item as its entities."""
    order_by: tuple[str, ...] = Field(min_length=1)
    """Features of that view, largest first; ties fall to the item id."""
    limit: int = Field(ge=1, le=10_000)
    """So many items at most."""


class Popular(Spec):
    """What everybody takes: the items with the largest value of one feature."""

    source: Literal["popular"]
    """Chooses what everybody takes."""
    order_by: str
    """A feature of the pool's view, largest first; ties fall to the item id."""
    limit: int = Field(ge=1, le=10_000)
    """So many items at most."""


CandidateSource = Annotated[Personal | Popular, Field(discriminator="source")]


class Pool(Spec):
    """Which items exist for this placement at a moment."""

    view: str
    """A feature view with the item as its only entity; a live row (within the TTL) makes an item eligible."""
    feature: str
    """A feature of that view that has to be at least `minimum`."""
    minimum: float = 1.0
    """The smallest value that makes an item eligible."""


class Placement(Spec):
    """registry/placements/<placement>.yaml: one list in the shop."""

    problem: str
    """The problem this placement serves."""
    model: str
    """The registered model whose champion fills the list where no experiment says otherwise."""
    k: int = Field(ge=1, le=1000)
    """Slots of the list."""
    pool: Pool
    """Which items exist for this placement."""
    candidates: tuple[CandidateSource, ...] = Field(min_length=1)
    """Sources in order; their union without duplicates is ranked."""
    fallback: Literal["popular", "empty"] = "popular"
    """What is shown when no model can answer."""
