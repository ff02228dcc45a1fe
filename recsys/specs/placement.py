"""Where is a list shown, what may stand in it, and who fills it by default? And whom may a campaign reach?"""

from collections import Counter
from typing import Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Spec
from recsys.specs.candidates import (
    CandidateSource,
    Covisit,
    Ease,
    Filter,
    FittedSource,
    Given,
    NewUnitSource,
    Personal,
    Seen,
    label,
    score_column,
)


class Pool(Spec):
    """Which items (or units, of an audience) exist at a moment."""

    view: str
    """A feature view with the item (or unit) as its only entity; a live row (within the TTL) makes it eligible."""
    feature: str
    """A feature of that view that has to be at least `minimum`."""
    minimum: float = 1.0
    """The smallest value that makes an item (or unit) eligible."""


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
    new_units: tuple[NewUnitSource, ...] = ()
    """The sources for a unit without any history in the views that `candidates` read; those of `candidates` by
    default."""
    filters: tuple[Filter, ...] = ()
    """What may not stand in the list, in any order: each takes items away from every source before its limit is
    counted, and from the popular list that is shown when no model can answer."""
    fallback: Literal["popular", "empty"] = "popular"
    """What is shown when no model can answer."""

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        twice = [name for name, count in Counter(map(label, self.sources)).items() if count > 1]
        if twice:
            message = (
                f"candidates and new_units: more than one source is named {', '.join(twice)}: names are unique; a"
                " source without one has its type's: give it a name"
            )
            raise ValueError(message)
        return self

    @property
    def sources(self) -> tuple[CandidateSource, ...]:
        """All sources: those of `candidates`, then those of `new_units`; a candidate's bits count in this order."""
        return (*self.candidates, *self.new_units)

    @property
    def fitted(self) -> tuple[FittedSource, ...]:
        """The sources that have an item-item model."""
        return tuple(source for source in self.candidates if isinstance(source, Covisit | Ease))

    @property
    def history_views(self) -> tuple[str, ...]:
        """The unit × item views that candidates are drawn from or taken away by, each once."""
        read = (*self.candidates, *self.filters)
        return tuple(dict.fromkeys(each.view for each in read if isinstance(each, Personal | Covisit | Ease | Seen)))

    @property
    def score_columns(self) -> tuple[str, ...]:
        """The columns with a score of every candidate, one a fitted source."""
        return tuple(score_column(source) for source in self.fitted)

    @property
    def takes_list(self) -> bool:
        """Whether a caller may pass a list of items."""
        return any(isinstance(source, Given) for source in self.sources)


class Audience(Spec):
    """registry/audiences/<audience>.yaml: who may be reached by a campaign."""

    problem: str
    """The problem this audience serves; it selects units (`item: null`)."""
    model: str
    """The registered model whose champion orders the units."""
    units: Pool
    """Which units may be reached at a moment: a view with the unit as its only entity, a live row of which, with a
    feature large enough, makes a unit eligible."""
