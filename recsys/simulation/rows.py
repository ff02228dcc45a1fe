"""How do pages and steps become rows of the shop's tables?"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys import schema
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.funnel import Steps
from recsys.simulation.pages import Pages
from recsys.simulation.population import Users
from recsys.specs.simulation import Simulation

EXPOSURES: Final = schema.EXPOSURES.append(pa.field("explored", pa.bool_()))
"""The event log's columns, and `explored`: whether the page was in random order. No model answered,
so that model_version, weights and fallback are null; experiment and arm are null outside the trial."""

IMPRESSIONS: Final = pa.schema(
    [(schema.REQUEST_ID, pa.string()), (schema.POSITION, pa.int64()), (schema.ITEM, pa.string())]
)
"""What stood in each slot of each page; `position` counts from 1."""

_TYPES: Final = (schema.PAGEVIEW, schema.CLICK, schema.TRANSFER, schema.PURCHASE)
_LETTERS: Final = ("v", "c", "t", "o")
_PAGEVIEW, _CLICK, _TRANSFER, _PURCHASE = range(4)
_NO_SLOT: Final = -1
_MICROS: Final = 1_000_000

# Shortest and longest seconds from one step to the next. Together with the pages of a session and the time to read
# down a page they stay below an hour; see `visits`.
_TO_CLICK: Final = (2.0, 30.0)
_READ_PAGE: Final = 60.0
_TO_TRANSFER: Final = (5.0, 120.0)
_TO_PURCHASE: Final = (20.0, 600.0)


@dataclass(frozen=True)
class Rows:
    """Rows of some pages, ordered by user and time."""

    events: pa.Table
    """`schema.EVENTS`."""
    exposures: pa.Table
    """`EXPOSURES`."""
    impressions: pa.Table
    """`IMPRESSIONS`."""


@dataclass
class _Columns:
    """Events as numbers, one array a column and each (events,)."""

    page: NDArray[np.int64]
    slot: NDArray[np.int64]
    kind: NDArray[np.int64]
    happened: NDArray[np.int64]
    known: NDArray[np.int64]
    quantity: NDArray[np.float64]
    value: NDArray[np.float64]


class RowMaker:
    """Makes rows of one shop."""

    def __init__(self, simulation: Simulation, catalogue: Catalogue) -> None:
        """Keep what all rows share."""
        self._simulation = simulation
        self._catalogue = catalogue
        self._start = round(simulation.start.timestamp()) * _MICROS
        self._end = round(simulation.end.timestamp()) * _MICROS
        # The last part of an event's id, by kind and slot.
        slots = range(simulation.page.slots)
        self._endings = pa.array(
            [_LETTERS[_PAGEVIEW], *(f"{mark}{slot + 1}" for mark in _LETTERS[1:] for slot in slots)]
        )

    def rows(self, users: Users, pages: Pages, steps: Steps, arm: pa.Array, rng: np.random.Generator) -> Rows:
        """Return the rows of some pages.

        Args:
            users: the pages' block.
            pages: what was shown.
            steps: what happened.
            arm: each page's arm by name, null outside the trial, (pages,).
            rng: the block's stream.
        """
        user = users.ids.take(pa.array(pages.user))
        session = _join(user, _numbers("s", pages.session))
        request = _join(session, _numbers("p", pages.page))
        events = self._in_order(self._columns(pages, steps, rng))
        return Rows(
            events=self._events(events, pages, user, session, request),
            exposures=self._exposures(pages, user, session, request, arm),
            impressions=self._impressions(pages, request),
        )

    def _columns(self, pages: Pages, steps: Steps, rng: np.random.Generator) -> list[_Columns]:
        opened = self._start + np.round(pages.seconds * _MICROS).astype(np.int64)
        page, slot = np.nonzero(steps.click)
        read = _READ_PAGE * (slot + 1) / self._simulation.page.slots
        clicked = opened[page] + _micros(read + rng.uniform(*_TO_CLICK, len(page)))
        transferred = clicked + _micros(rng.uniform(*_TO_TRANSFER, len(page)))
        ordered = transferred + _micros(rng.uniform(*_TO_PURCHASE, len(page)))
        went_on, bought = steps.transfer[page, slot], steps.purchase[page, slot]
        nowhere = np.full(len(opened), _NO_SLOT)
        return [
            _plain(_PAGEVIEW, np.arange(len(opened)), nowhere, opened),
            _plain(_CLICK, page, slot, clicked),
            _plain(_TRANSFER, page[went_on], slot[went_on], transferred[went_on]),
            *self._orders(pages, page[bought], slot[bought], ordered[bought], rng),
        ]

    def _orders(
        self,
        pages: Pages,
        page: NDArray[np.int64],
        slot: NDArray[np.int64],
        at: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> list[_Columns]:
        """Return orders as the shop first knew them, and as they were stated again."""
        spec = self._simulation.orders
        quantity = rng.geometric(1 - spec.more_than_one, len(page)).astype(np.float64)
        value = np.round(quantity * self._catalogue.price[pages.items[page, slot]], 2)
        late = rng.random(len(page)) < spec.late
        known = at + np.where(late, _delays(spec.late_by, len(page), rng), 0)
        cancelled = rng.random(len(page)) < spec.cancelled
        again = known + _delays(spec.cancelled_after, len(page), rng)
        kind = np.full(len(page), _PURCHASE)
        nothing = np.zeros(int(cancelled.sum()))
        page_again, slot_again, kind_again = page[cancelled], slot[cancelled], kind[cancelled]
        return [
            _Columns(page, slot, kind, at, known, quantity, value),
            _Columns(page_again, slot_again, kind_again, at[cancelled], again[cancelled], nothing, nothing),
        ]

    def _in_order(self, parts: list[_Columns]) -> _Columns:
        """Join events, ordered by page, time, kind and when they were known, without those known too late."""
        joined = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
        order = np.lexsort((joined["known"], joined["kind"], joined["happened"], joined["page"]))
        if not self._simulation.complete:
            order = order[joined["known"][order] < self._end]
        return _Columns(**{name: column[order] for name, column in joined.items()})

    def _events(self, events: _Columns, pages: Pages, user: pa.Array, session: pa.Array, request: pa.Array) -> pa.Table:
        page = pa.array(events.page)
        slots = self._simulation.page.slots
        ending = np.where(events.kind == _PAGEVIEW, 0, 1 + (events.kind - 1) * slots + events.slot)
        no_item = events.slot == _NO_SLOT
        item = pages.items[events.page, np.maximum(events.slot, 0)]
        columns = [
            _join(request.take(page), self._endings.take(pa.array(ending))),
            pa.array(_TYPES, pa.string()).take(pa.array(events.kind)),
            user.take(page),
            self._catalogue.ids.take(pa.array(item, mask=no_item)),
            session.take(page),
            pa.array(events.quantity),
            pa.array(events.value),
            pa.array(events.happened).cast(schema.TIMESTAMP),
            pa.array(events.known).cast(schema.TIMESTAMP),
        ]
        return pa.table(columns, schema=schema.EVENTS)

    def _exposures(self, pages: Pages, user: pa.Array, session: pa.Array, request: pa.Array, arm: pa.Array) -> pa.Table:
        count = len(request)
        trial = self._simulation.trial
        name = pa.scalar(trial.name if trial else None, pa.string())
        happened = self._start + np.round(pages.seconds * _MICROS).astype(np.int64)
        columns = [
            request,
            user,
            session,
            pc.if_else(arm.is_valid(), name, pa.scalar(None, pa.string())),
            arm,
            pa.array(np.zeros(count, dtype=np.bool_)),
            pa.nulls(count, pa.string()),
            pa.nulls(count, pa.int64()),
            pa.nulls(count, pa.string()),
            pa.array(happened).cast(schema.TIMESTAMP),
            pa.array(pages.explored),
        ]
        return pa.table(columns, schema=EXPOSURES)

    def _impressions(self, pages: Pages, request: pa.Array) -> pa.Table:
        count, slots = pages.items.shape
        columns = [
            request.take(pa.array(np.repeat(np.arange(count), slots))),
            pa.array(np.tile(np.arange(1, slots + 1), count)),
            self._catalogue.ids.take(pa.array(pages.items.ravel())),
        ]
        return pa.table(columns, schema=IMPRESSIONS)


def _plain(kind: int, page: NDArray[np.int64], slot: NDArray[np.int64], at: NDArray[np.int64]) -> _Columns:
    """Return events that count once, are worth nothing, and are known when they happen."""
    count = len(page)
    return _Columns(page, slot, np.full(count, kind), at, at, np.ones(count), np.zeros(count))


def _delays(span: tuple[timedelta, timedelta], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw microseconds, even on a logarithmic scale."""
    shortest, longest = (np.log(length.total_seconds()) for length in span)
    return _micros(np.exp(rng.uniform(shortest, longest, count)))


def _micros(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.round(seconds * _MICROS).astype(np.int64)


def _numbers(mark: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise(mark, pa.array(numbers + 1).cast(pa.string()), "")


def _join(left: pa.Array, right: pa.Array) -> Any:  # noqa: ANN401 - pyarrow has no types
    return pc.binary_join_element_wise(left, right, "-")
