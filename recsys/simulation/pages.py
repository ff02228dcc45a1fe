"""What does each page show, and what is every shown item to the user?"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.catalogue import Catalogue
from recsys.simulation.population import Users
from recsys.simulation.visits import Visits
from recsys.specs.simulation import Appeal, Page, Simulation

PAGES_AT_ONCE: Final = 16_384
"""Pages that are made at once, so that memory does not grow with a block's pages. It is part of the generator."""

_ORDER_NOISE: Final = 0.7
"""Standard deviation added to the logarithm of an item's rate before the list is ordered."""


class Relation(IntEnum):
    """What an item is to a user at a time; the first that holds counts."""

    DUE = 0
    FAVOURITE = 1
    LINE = 2
    CATEGORY = 3
    OTHER = 4


@dataclass(frozen=True)
class Pages:
    """Some pages of a block, in its order."""

    first: int
    """Place of the first one among the block's pages."""
    user: NDArray[np.int64]
    """Place in the block, (pages,)."""
    session: NDArray[np.int64]
    page: NDArray[np.int64]
    seconds: NDArray[np.float64]
    explored: NDArray[np.bool_]
    """Whether the order is random, (pages,)."""
    items: NDArray[np.int64]
    """What stands in each slot, (pages, slots); the items of a page are different."""
    relation: NDArray[np.int8]
    """`Relation` of each shown item, (pages, slots)."""


def make_pages(
    simulation: Simulation, catalogue: Catalogue, users: Users, visits: Visits, rng: np.random.Generator
) -> Iterator[Pages]:
    """Make all pages of a block, some at a time; between two of them the caller may draw from `rng` too."""
    for first in range(0, len(visits.user), PAGES_AT_ONCE):
        part = slice(first, first + PAGES_AT_ONCE)
        user, seconds, due = visits.user[part], visits.seconds[part], visits.due[part]
        favourites = users.favourites.at(user, seconds)
        shown = _choose(simulation.page, catalogue, favourites, due, rng)
        relation = _relation(catalogue, users.likes[user], favourites, due, shown)
        explored = rng.random(len(user)) < simulation.page.explored
        order = _order(simulation.funnel.click, relation, explored, rng)
        yield Pages(
            first=first,
            user=user,
            session=visits.session[part],
            page=visits.page[part],
            seconds=seconds,
            explored=explored,
            items=np.take_along_axis(shown, order, axis=1),
            relation=np.take_along_axis(relation, order, axis=1),
        )


def examination(page: Page) -> NDArray[np.float64]:
    """Return the probability that a user looks at each position, (slots,)."""
    return np.arange(1, page.slots + 1, dtype=np.float64) ** -page.position_bias


def rates(click: Appeal) -> NDArray[np.float64]:
    """Return the rate of clicks of each `Relation`, (5,)."""
    return np.array([click.due, click.favourite, click.line, click.category, click.other])


def _choose(
    page: Page,
    catalogue: Catalogue,
    favourites: NDArray[np.int32],
    due: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return different items for each page, (pages, slots)."""
    pages, slots = len(favourites), page.slots
    personal = min(round(slots * page.favourites), favourites.shape[1])
    popular = round(slots * page.popular)
    foreseen = due & (rng.random(due.shape) < page.foresight)
    first = np.argsort(rng.random(due.shape) - foreseen, axis=1)[:, :personal]
    liked = np.take_along_axis(favourites, first, axis=1)
    sold = catalogue.by_popularity(rng.random((pages, popular)))
    anything = rng.integers(len(catalogue), size=(pages, max(0, slots - personal - popular)))
    # Where the same item was drawn twice, neighbours in the catalogue fill the page: there are enough for any case.
    fill = (rng.integers(len(catalogue), size=(pages, 1)) + np.arange(slots)) % len(catalogue)
    return _different(np.concatenate((liked, sold, anything, fill), axis=1), slots)


def _different(drawn: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the first different items of each row, (rows, count); each row has so many."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    again = np.zeros(drawn.shape, dtype=np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeated = np.zeros(drawn.shape, dtype=np.bool_)
    np.put_along_axis(repeated, order, again, axis=1)
    kept = ~repeated & (np.cumsum(~repeated, axis=1) <= count)
    return drawn[kept].reshape(len(drawn), count)


def _relation(
    catalogue: Catalogue,
    likes: NDArray[np.bool_],
    favourites: NDArray[np.int32],
    due: NDArray[np.bool_],
    shown: NDArray[np.int64],
) -> NDArray[np.int8]:
    of_line = np.zeros(shown.shape, dtype=np.bool_)
    favourite = np.zeros(shown.shape, dtype=np.bool_)
    needed = np.zeros(shown.shape, dtype=np.bool_)
    lines = catalogue.line[shown]
    # A favourite at a time: a page has few, and an array of pages by slots by favourites would not fit the cache.
    for column in range(favourites.shape[1]):
        item = favourites[:, column]
        same = shown == item[:, None]
        favourite |= same
        needed |= same & due[:, column, None]
        of_line |= lines == catalogue.line[item][:, None]
    of_category = np.take_along_axis(likes, catalogue.category[shown], axis=1)
    conditions = [needed, favourite, of_line, of_category]
    return np.select(
        conditions,
        [np.int8(Relation.DUE), np.int8(Relation.FAVOURITE), np.int8(Relation.LINE), np.int8(Relation.CATEGORY)],
        np.int8(Relation.OTHER),
    ).astype(np.int8)


def _order(
    click: Appeal, relation: NDArray[np.int8], explored: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the order of each page's items: random where explored, else by their rates with some noise."""
    noise = rng.normal(0, _ORDER_NOISE, relation.shape)
    score = noise + np.where(explored[:, None], 0.0, np.log(rates(click))[relation])
    return np.argsort(-score, axis=1)
