"""What happens to a list between the model's order and the page? Stages, carried out in the order they are declared."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Spec


class Cap(Spec):
    """Not too many of a kind: what comes beyond the first `most` items of a value is left out."""

    stage: Literal["cap"]
    """Chooses a cap."""
    by: str
    """A text of the pool's view, such as a category or a brand; unknown values count as one."""
    most: int = Field(ge=1, le=1000)
    """So many items of each value at most; the list is shorter where nothing else is left."""


class Diversity(Spec):
    """Not the same again: maximal marginal relevance (Carbonell and Goldstein 1998).

    Slot by slot, the item with the largest (1 - weight) × relevance - weight × similarity. Relevance is the score,
    brought to 0 to 1 over the items that are considered; similarity to the most similar item above, the share of `by`
    that both have in common.
    """

    stage: Literal["diversity"]
    """Chooses maximal marginal relevance."""
    by: tuple[str, ...] = Field(min_length=1)
    """Texts of the pool's view that make two items alike."""
    weight: float = Field(gt=0, lt=1)
    """Of the similarity; nearly 0 keeps the order, nearly 1 forgets the scores."""
    among: int = Field(default=100, ge=2, le=1000)
    """So many items from the top are considered; the rest follow in their order."""


class Pin(Spec):
    """What has to be there: items at fixed slots, whether a source gives them or not."""

    stage: Literal["pin"]
    """Chooses pinned items."""
    items: tuple[str, ...] = Field(min_length=1)
    """Item ids, in their order; one that the pool lacks, or that the placement's filters keep out, is passed over."""
    position: int = Field(default=1, ge=1, le=1000)
    """The slot of the first of them."""


class Explore(Spec):
    """What nobody would see otherwise: one slot for an item drawn from those that just miss the list.

    Every item that is drawn from has the same chance, and what is shown is logged with its own, as its propensity; a
    request id always draws the same. With a `share` below 0.5 the list's own item stays in most lists: then the log
    tells what lists without exploration bring.
    """

    stage: Literal["explore"]
    """Chooses an exploration slot."""
    position: int = Field(ge=1, le=1000)
    """The slot; the item that stood there leaves the list."""
    among: int = Field(ge=2, le=1000)
    """So many items that follow on the last slot are drawn from."""
    share: float = Field(default=1.0, gt=0, le=1)
    """The share of lists in which the slot is drawn: all of them, or less than half."""

    @model_validator(mode="after")
    def _tells_its_own_item(self) -> Self:
        if 0.5 <= self.share < 1:  # noqa: PLR2004 - a half
            message = f"share {self.share} is below 0.5 or 1: else a propensity does not tell whose item was shown"
            raise ValueError(message)
        return self


Stage = Annotated[Cap | Diversity | Pin | Explore, Field(discriminator="stage")]
