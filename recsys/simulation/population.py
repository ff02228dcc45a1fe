"""Who shops here, what do they like, and what do they need again and again?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys import schema
from recsys.simulation.catalogue import AGES, Catalogue
from recsys.simulation.randomness import Stream, generator, numbered
from recsys.specs.simulation import Simulation

USERS_PER_BLOCK: Final = 4_096
"""Users that are made at once. It is part of the generator: with another number the same seed is another shop."""

DAY_S: Final = 86_400.0

_UNKNOWN: Final = 0.1
"""Share of users who have not told one of their demographics."""
_DEMOGRAPHICS: Final[dict[str, tuple[str, ...]]] = {
    "income": ("under 25K", "25-49K", "50-74K", "75-99K", "100K+"),
    "home_ownership": ("homeowner", "renter"),
    "marital_status": ("married", "unmarried"),
    "household_size": ("1", "2", "3", "4", "5+"),
    "household_composition": ("1 adult", "2 adults", "adults with kids"),
    "kids_count": ("0", "1", "2", "3+"),
}


@dataclass(frozen=True)
class Favourites:
    """What the users of a block buy again and again: slots, each with an item that another replaces in time."""

    items: NDArray[np.int32]
    """(users, favourites, generations)."""
    phase: NDArray[np.float64]
    """Share of the first item's time that is over at the start, (users, favourites)."""
    gap: NDArray[np.float64]
    """Mean seconds between two needs, (users, favourites)."""
    lasts: float
    """Seconds that an item stays a favourite."""

    def at(self, user: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the favourite items of users at their times.

        Args:
            user: places in the block, (rows,).
            seconds: since the shop's start, (rows,).

        Returns:
            Items, (rows, favourites); the same item may stand twice.
        """
        generation = (seconds[:, None] / self.lasts + self.phase[user]).astype(np.int64)
        return self.items[user[:, None], np.arange(self.items.shape[1]), generation]


@dataclass(frozen=True)
class Users:
    """A block of users."""

    ids: pa.Array
    """user_id, strings, (users,)."""
    segment: NDArray[np.int64]
    """Places in the declaration's segments, (users,)."""
    joined: NDArray[np.int64]
    """The first day with sessions, (users,)."""
    sessions_per_week: NDArray[np.float64]
    """Each user's own mean, (users,)."""
    conversion: NDArray[np.float64]
    """Factor on the rate of purchase, (users,)."""
    likes: NDArray[np.bool_]
    """Whether one of the favourites is of the category, (users, categories)."""
    favourites: Favourites
    table: pa.Table
    """`schema.USERS`."""


def blocks(simulation: Simulation) -> int:
    """Return the number of blocks."""
    return -(-simulation.users // USERS_PER_BLOCK)


def make_users(simulation: Simulation, catalogue: Catalogue, block: int) -> Users:
    """Make one block of users."""
    rng = generator(simulation.seed, Stream.POPULATION, block)
    first = block * USERS_PER_BLOCK
    count = min(USERS_PER_BLOCK, simulation.users - first)
    segments = list(simulation.segments.values())
    cut = np.cumsum([segment.share for segment in segments])[:-1]
    segment = np.searchsorted(cut, rng.random(count), side="right")
    joins = np.array([each.joins for each in segments])[segment]
    activity = rng.gamma(simulation.habits.activity_shape, 1 / simulation.habits.activity_shape, count)
    age = rng.integers(len(AGES), size=count)
    categories, favourites = _favourites(simulation, catalogue, age, rng)
    likes = np.zeros((count, catalogue.age_tastes.shape[1]), dtype=np.bool_)
    np.put_along_axis(likes, categories, values=True, axis=1)
    ids = numbered("user_", first, count, simulation.users)
    return Users(
        ids=ids,
        segment=segment,
        joined=np.where(joins, rng.integers(simulation.days, size=count), 0),
        sessions_per_week=np.array([each.sessions_per_week for each in segments])[segment] * activity,
        conversion=np.array([each.conversion for each in segments])[segment],
        likes=likes,
        favourites=favourites,
        table=_table(ids, age, rng),
    )


def _favourites(
    simulation: Simulation, catalogue: Catalogue, age: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], Favourites]:
    """Return the favourites' categories, (users, favourites), and the favourites."""
    habits = simulation.habits
    lasts = habits.favourite_lasts.total_seconds()
    count, slots = len(age), habits.favourites
    generations = int(simulation.days * DAY_S / lasts) + 2
    sizes = np.diff(catalogue.cumulative[catalogue.category_items])
    tastes = rng.standard_gamma(habits.taste_shape, (count, len(sizes))) * catalogue.age_tastes[age] * sizes
    category = _rows_choice(tastes, rng.random((count, slots)))
    own_lines = catalogue.lines_by_popularity(rng.random((count, len(sizes))))
    shape = (count, slots, generations)
    loyal = rng.random(shape) < habits.loyalty
    uniform = rng.random(shape)
    any_item = catalogue.of_category(uniform, category[:, :, None])
    line_item = catalogue.of_line(uniform, np.take_along_axis(own_lines, category, axis=1)[:, :, None])
    gap = habits.repurchase.total_seconds() * np.exp(rng.normal(0, habits.repurchase_spread, (count, slots)))
    return category, Favourites(
        items=np.where(loyal, line_item, any_item).astype(np.int32),
        phase=rng.random((count, slots)),
        gap=np.maximum(gap, DAY_S),
        lasts=lasts,
    )


def _rows_choice(weights: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw columns in proportion to each row's weights.

    Args:
        weights: (rows, columns), 0 or more.
        uniform: in [0, 1), (rows, draws).

    Returns:
        Columns, (rows, draws).
    """
    # With a very small shape all of a row may be too small for a float; then every column is alike.
    weights = weights + np.finfo(np.float64).tiny
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    # One search for all rows: row r lives in [r, r + 1).
    row = np.arange(len(weights))[:, None]
    found: NDArray[np.int64] = np.searchsorted((cumulative + row).ravel(), uniform + row, side="right")
    found -= row * weights.shape[1]
    return np.asarray(np.minimum(found, weights.shape[1] - 1))


def _table(ids: pa.Array, age: NDArray[np.int64], rng: np.random.Generator) -> pa.Table:
    others = (_told(answers, rng.integers(len(answers), size=len(ids)), rng) for answers in _DEMOGRAPHICS.values())
    return pa.table([ids, _told(AGES, age, rng), *others], schema=schema.USERS)


def _told(answers: tuple[str, ...], index: NDArray[np.int64], rng: np.random.Generator) -> pa.Array:
    """Return answers, null where the user gave none."""
    return pa.array(answers, pa.string()).take(pa.array(index, mask=rng.random(len(index)) < _UNKNOWN))
