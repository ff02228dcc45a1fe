"""Where may a list's items come from, and which of them may not stand in it?

A source gives items in its own order, a filter takes items away from every source before its limit is counted. What is
fitted (covisit, ease) is fitted on what a unit × item view held at the moment of the list, and never on anything later.
"""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Duration, Spec

SOURCES: Final = "sources"
"""The column that says which sources gave a candidate: bit i (of value 2^i) is the i-th declared source, those of
`new_units` after those of `candidates`."""

_LIMIT: Final = 10_000


class _Source(Spec):
    """What all sources have."""

    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    """Tells it from others of its type, in reports and in the names of columns; its type by default."""
    limit: int = Field(ge=1, le=_LIMIT)
    """So many items at most."""


class Personal(_Source):
    """The unit's own history: the items it has a row with in a unit × item view."""

    source: Literal["personal"]
    """Chooses the unit's own history."""
    view: str
    """A feature view with the unit and the item as its entities, or with the session and the item: then the history is
    that of the request's session."""
    order_by: tuple[str, ...] = Field(min_length=1)
    """Features of that view, largest first; ties fall to the item id."""


class Popular(_Source):
    """What everybody takes: the items with the largest value of one feature."""

    source: Literal["popular"]
    """Chooses what everybody takes."""
    order_by: str
    """A feature of the pool's view, largest first; ties fall to the item id."""
    by: str | None = None
    """A feature of the pool's view, such as a category: only the `per_value` first items of each of its values are
    given, still largest first."""
    per_value: int | None = Field(default=None, ge=1, le=_LIMIT)
    """How many items of each value of `by`."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.by is None) != (self.per_value is None):
            message = "by and per_value belong together: which feature, and how many items of each of its values"
            raise ValueError(message)
        return self


class Newest(_Source):
    """What has just come in: how an item that nobody has taken yet finds its way into lists."""

    source: Literal["newest"]
    """Chooses what has just come in."""
    order_by: str
    """A time feature of the pool's view, such as when an item was first sold; newest first, ties fall to the item
    id."""
    within: Duration
    """Items whose time lies further back than this before the request are left out; so is what lies after it."""


class _Fitted(_Source):
    """What the sources with an item-item model have."""

    view: str
    """A feature view with the unit and the item as its entities; its rows are the histories that the model is fitted
    on, and the unit's own rows are what it is asked with. With the session and the item it is fitted on the sessions
    that the view's TTL lets live, and asked with the request's session; no model may read its score then."""
    strength: str | None = None
    """A number of that view: how much each of the unit's own items speaks; all the same by default."""
    minimum: int = Field(default=5, ge=1)
    """Only items that so many units have take part in the model."""
    own: bool = True
    """Whether items of the unit's own history are given too; without them the limit is filled with others."""


class Covisit(_Fitted):
    """What the units take that share items with this one: cosine neighbours of the unit's own items, added up.

    The column `<name>_score` has the score of every candidate, 0 where there is none.
    """

    source: Literal["covisit"]
    """Chooses co-visited items."""
    neighbours: int = Field(default=50, ge=1, le=_LIMIT)
    """How many of each item's strongest neighbours are kept."""
    together: int = Field(default=2, ge=1)
    """Two items are neighbours if so many units have both."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the cosine's denominator, against neighbours of few common units; 0 is the cosine itself."""


class Ease(_Fitted):
    """What a linear model of all items together gives (EASE^R, Steck 2019), for catalogues whose Gram matrix fits.

    Memory is 4 bytes × items² while it is fitted, and for each model that is kept; one that does not fit into the
    environment's `limits.memory` is refused. The column `<name>_score` has the score of every candidate, 0 where there
    is none.
    """

    source: Literal["ease"]
    """Chooses the closed-form item-item model."""
    l2: float = Field(default=500.0, gt=0)
    """Shrinkage: larger means weaker and smoother weights."""


class Given(_Source):
    """The list that a caller passes with a request; nothing in training and in batches."""

    source: Literal["given"]
    """Chooses the caller's list, in its order; ids that are not in the pool are left out."""


CandidateSource = Annotated[Personal | Popular | Covisit | Ease | Newest | Given, Field(discriminator="source")]
NewUnitSource = Annotated[Popular | Newest | Given, Field(discriminator="source")]


class Seen(Spec):
    """Take away what the unit has already."""

    filter: Literal["seen"]
    """Chooses the unit's own items."""
    view: str
    """A feature view with the unit and the item as its entities, or with the session and the item: an item is seen if
    the unit (or the request's session) has a live row of it of which a feature is known."""
    by: str | None = None
    """A time feature of that view, such as the last purchase; needed with `within`."""
    within: Duration | None = None
    """Only what the unit has seen so long before the request is taken away; everything by default."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.by is None) != (self.within is None):
            message = "by and within belong together: a time feature, and how far back it counts"
            raise ValueError(message)
        if self.within is not None and self.within <= timedelta(0):
            message = "within is a length of time above 0"
            raise ValueError(message)
        return self


class _Lists(Spec):
    """What the filters by lists have."""

    allow: tuple[str, ...] | None = None
    """Nothing else may stand in the list; anything by default."""
    deny: tuple[str, ...] = ()
    """This may not, allowed or not."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.allow is None and not self.deny:
            message = "allow or deny: neither is given, so it takes nothing away"
            raise ValueError(message)
        return self


class Items(_Lists):
    """Take away items by their id."""

    filter: Literal["items"]
    """Chooses lists of item ids."""


class Values(_Lists):
    """Take away items by a value, such as whole categories."""

    filter: Literal["values"]
    """Chooses lists of values."""
    feature: str
    """A text of the pool's view; where it is not known it is `unknown`."""


class Stock(Spec):
    """Take away what there is too little of."""

    filter: Literal["stock"]
    """Chooses items by a number."""
    feature: str
    """A number of the pool's view; an item where it is not known is taken away."""
    minimum: float = 1.0
    """The smallest value that stays."""


Filter = Annotated[Seen | Items | Values | Stock, Field(discriminator="filter")]

FittedSource = Covisit | Ease


def label(source: CandidateSource) -> str:
    """Return a source's name: the declared one, or its type."""
    return source.name or source.source


def score_column(source: FittedSource) -> str:
    """Return the column that holds a source's score of every candidate."""
    return f"{label(source)}_score"
