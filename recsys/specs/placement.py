"""Where is a list shown, what may stand in it, and who fills it by default? And whom may a campaign reach?"""

from collections import Counter
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from recsys import schema
from recsys.specs.base import Duration, Spec
from recsys.specs.candidates import (
    SOURCES,
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
from recsys.specs.reranking import Explore, Pin, Stage

MOST_CONTEXT: Final = 32
"""Fields of a context at most."""

_TAKEN: Final = frozenset(
    {
        schema.USER,
        schema.ITEM,
        schema.SESSION,
        schema.EVENT_TIMESTAMP,
        schema.CREATED_TIMESTAMP,
        schema.REQUEST_TIMESTAMP,
        schema.REQUEST_ID,
        schema.POSITION,
        schema.LABEL,
        SOURCES,
        "request",
        "item_row",
        "history",
    }
)
"""Columns of requests and of training sets."""

ContextName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


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
    rerank: tuple[Stage, ...] = ()
    """What happens to the model's order before it is shown, stage by stage in this order. The filters come before, and
    an exploration slot last. Offline figures and gates are of the model's own order."""
    context: dict[ContextName, Literal["number", "text", "time"]] = Field(default_factory=dict, max_length=MOST_CONTEXT)
    """What only the caller knows at the moment of a request, such as `{device: text, basket_value: number}`: name to
    kind. An on-demand view reads it by a RequestSource that has the same name; what a request does not say is
    unknown."""
    fallback: Literal["popular", "empty"] = "popular"
    """What is shown when no model can answer; it is not re-ranked."""
    budget: Duration | None = Field(default=None, gt=timedelta(0))
    """The time of one list; the environment's `serve.budget` by default."""

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

    @model_validator(mode="after")
    def _context_named_apart(self) -> Self:
        taken = sorted(_TAKEN.union(self.score_columns).intersection(self.context))
        if taken:
            message = f"context: {', '.join(taken)}: every request has a column of that name: call it otherwise"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        slots = set(range(1, self.k + 1))
        for number, stage in enumerate(self.rerank):
            if isinstance(stage, Pin):
                wanted = range(stage.position, stage.position + len(stage.items))
            elif isinstance(stage, Explore):
                wanted = range(stage.position, stage.position + 1)
            else:
                continue
            if not slots.issuperset(wanted):
                message = (
                    f"rerank.{number}: {stage.stage} takes slots {wanted[0]} to {wanted[-1]}; each has to be one of"
                    f" 1 to {self.k} that no stage before it takes"
                )
                raise ValueError(message)
            slots.difference_update(wanted)
        if any(isinstance(stage, Explore) for stage in self.rerank[:-1]):
            message = (
                "rerank: explore is the last stage, and there is one at most: a stage after it would change its chances"
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
    """Which units a campaign is about at a moment: a view with the unit as its only entity, a live row of which, with a
    feature large enough, makes a unit eligible."""
    contact: dict[str, Pool | None] = Field(default_factory=dict)
    """Channel to who may be contacted there: a view with the unit as its only entity, and a feature of it that says
    yes by being at least `minimum`. A unit without a live row, or whose feature is unknown, is not contacted, so the
    view's TTL is how long a yes holds. Null where a channel asks nobody. Empty by default; else it names every channel
    of the problem."""
    holdouts: tuple[str, ...] = ()
    """Layers, each a file under registry/layers/, whose holdouts no campaign reaches."""
