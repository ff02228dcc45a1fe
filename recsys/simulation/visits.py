"""When do users come, how many pages do they open, and what do they need by then?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.population import DAY_S, Users
from recsys.simulation.randomness import Stream, generator, ragged_positions
from recsys.specs.simulation import Simulation

MAX_PAGES: Final = 8
"""Pages of one session at most."""
HOUR_S: Final = 3_600.0

_HOURS: Final = (0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 5, 4, 4, 5, 7, 9, 10, 9, 6, 3, 0)
"""Weight of each hour of the day in which sessions begin. None begins in the last: what follows takes an hour at most,
so that a session's events lie on one day and within the span."""
_BEFORE_S: Final = 60 * DAY_S
"""From so long before the start on needs come up."""
_RAREST: Final = 1 / 520
"""Sessions a week; who comes less often counts as coming once in ten years."""
_YEAR_DAYS: Final = 365.25
_PAGE_S: Final = (40.0, 240.0)
"""Shortest and longest time between two pages of a session."""


@dataclass(frozen=True)
class Visits:
    """The pages that a block of users opens, ordered by user and time."""

    user: NDArray[np.int64]
    """The user's place in the block, (pages,)."""
    session: NDArray[np.int64]
    """The session's number within its user, from 0 and in the order of time, (pages,)."""
    page: NDArray[np.int64]
    """The page's number within its session, from 0, (pages,)."""
    seconds: NDArray[np.float64]
    """Since the shop's start, (pages,)."""
    due: NDArray[np.bool_]
    """Which of the user's favourites are needed on this page, (pages, favourites). Every need falls on one page: the
    user's first after the need came up. Whether something is bought there changes nothing later: who does not buy
    here, buys elsewhere."""


def day_weights(simulation: Simulation) -> NDArray[np.float64]:
    """Return the mean number of sessions of each day, relative to a day without any season, (days,)."""
    season = simulation.season
    days = np.arange(simulation.days)
    weekly = np.array(season.weekly) / np.mean(season.weekly)
    weekday = (simulation.start.weekday() + days) % 7
    since_peak = simulation.start.timetuple().tm_yday - season.peak + days
    wave = 1 + season.yearly * np.cos(2 * np.pi * since_peak / _YEAR_DAYS)
    return np.asarray(weekly[weekday] * wave * (1 + season.trend) ** (days / _YEAR_DAYS), dtype=np.float64)


def make_visits(simulation: Simulation, users: Users, block: int) -> Visits:
    """Make the sessions and pages of a block of users."""
    rng = generator(simulation.seed, Stream.VISITS, block)
    user, start = _sessions(simulation, users, rng)
    session = ragged_positions(np.bincount(user, minlength=len(users.ids)))
    opened = 1 + np.minimum(rng.poisson(simulation.page.per_session - 1, len(user)), MAX_PAGES - 1)
    page = ragged_positions(opened)
    user, session, start = np.repeat(user, opened), np.repeat(session, opened), np.repeat(start, opened)
    pause = np.where(page > 0, rng.uniform(*_PAGE_S, len(page)), 0.0)
    passed = np.cumsum(pause)
    seconds = start + passed - np.repeat(passed[page == 0], opened)
    # Two sessions of one user may overlap; needs ask for pages in the order of time.
    order = np.lexsort((page, session, seconds, user))
    user, session, page, seconds = user[order], session[order], page[order], seconds[order]
    return Visits(user, session, page, seconds, _due(simulation, users, user, seconds, rng))


def expected_sessions(simulation: Simulation, users: Users) -> NDArray[np.float64]:
    """Return the mean number of each user's sessions in the span, (users,)."""
    return _means(users, np.concatenate(([0.0], np.cumsum(day_weights(simulation)))))


def _means(users: Users, passed: NDArray[np.float64]) -> NDArray[np.float64]:
    left: NDArray[np.float64] = passed[-1] - passed[users.joined]
    return users.sessions_per_week / 7 * left


def _sessions(
    simulation: Simulation, users: Users, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each session's user and time, ordered by both."""
    passed = np.concatenate(([0.0], np.cumsum(day_weights(simulation))))
    before = passed[users.joined]
    count = rng.poisson(_means(users, passed))
    user = np.repeat(np.arange(len(users.ids)), count)
    at = before[user] + rng.random(len(user)) * (passed[-1] - before[user])
    day = np.minimum(np.searchsorted(passed, at, side="right") - 1, simulation.days - 1)
    hours = np.cumsum(_HOURS) / np.sum(_HOURS)
    hour = np.searchsorted(hours, rng.random(len(user)), side="right")
    seconds = day * DAY_S + (hour + rng.random(len(user))) * HOUR_S
    order = np.lexsort((seconds, user))
    return user[order], seconds[order]


def _due(
    simulation: Simulation,
    users: Users,
    user: NDArray[np.int64],
    seconds: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Let every favourite be needed again and again, and find the page on which each need falls."""
    span = simulation.days * DAY_S
    due = np.zeros((len(user), users.favourites.gap.shape[1]), dtype=np.bool_)
    # One search for all users: a user's times live in [user, user + 1) spans.
    opened = user * span + seconds
    # Whoever is there from the start, or joins, was elsewhere before: at the first page is needed what came up since.
    pause = 7 * DAY_S / np.maximum(users.sessions_per_week, _RAREST)
    elsewhere = users.joined * DAY_S - pause * rng.exponential(size=len(pause))
    for favourite, gaps in enumerate(users.favourites.gap.T):
        owner, at = _needs(gaps, span, simulation.habits.regularity, rng)
        open_at_start = at >= elsewhere[owner]
        owner, at = owner[open_at_start], np.maximum(at[open_at_start], 0.0)
        page = np.searchsorted(opened, owner * span + at, side="left")
        # After a user's last page the search ends at the next user's first.
        owner, page = owner[page < len(user)], page[page < len(user)]
        due[page[user[page] == owner], favourite] = True
    return due


def _needs(
    gaps: NDArray[np.float64], span: float, shape: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the user and the time of every need of one favourite of each user, from some time before the start."""
    mean = (_BEFORE_S + span) / gaps
    # Enough for all but one user in many thousands, whose last needs are then missing.
    needs = np.ceil(mean + 4 * np.sqrt(mean / shape) + 4).astype(np.int64)
    place = ragged_positions(needs)
    waited = rng.standard_gamma(shape, len(place)) / shape
    # The first need comes up as if all had gone on for long: after a part of a gap.
    waited[place == 0] *= rng.random(len(gaps))
    total = np.cumsum(waited)
    begin = np.cumsum(needs) - needs
    at = (total - np.repeat(total[begin] - waited[begin], needs)) * np.repeat(gaps, needs) - _BEFORE_S
    owner = np.repeat(np.arange(len(gaps)), needs)
    return owner[at < span], at[at < span]
