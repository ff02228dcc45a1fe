"""How does a whole shop come out, block by block of its users?"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.experiment.bucketing import BUCKETS, buckets
from recsys.simulation import population
from recsys.simulation.catalogue import make_catalogue
from recsys.simulation.funnel import Effects, base_rates, draw, with_effects
from recsys.simulation.pages import Pages, make_pages
from recsys.simulation.population import Users, make_users
from recsys.simulation.randomness import Stream, generator
from recsys.simulation.rows import RowMaker, Rows
from recsys.simulation.truth import NO_ARM, Truth
from recsys.simulation.visits import make_visits
from recsys.specs.simulation import Simulation


class Shop:
    """One shop; nothing of it is kept but the catalogue."""

    def __init__(self, simulation: Simulation) -> None:
        """Make the catalogue."""
        self.simulation = simulation
        self.catalogue = make_catalogue(simulation)
        self._rows = RowMaker(simulation, self.catalogue)
        self._effects = Effects.of(simulation)
        self._names = pa.array(simulation.trial.arms if simulation.trial else [], pa.string())
        self._arm_of_bucket = _arm_of_bucket(simulation)

    @property
    def blocks(self) -> int:
        """Return the number of blocks of users."""
        return population.blocks(self.simulation)

    def users(self, block: int) -> Users:
        """Make the users of a block; they are the same each time."""
        return make_users(self.simulation, self.catalogue, block)

    def rows(self, users: Users, block: int, truth: Truth) -> Iterator[Rows]:
        """Make the rows of a block's users, some pages at a time.

        Args:
            users: the block's users.
            block: its number.
            truth: what is true of the rows is added to it.
        """
        simulation = self.simulation
        rng = generator(simulation.seed, Stream.PAGES, block)
        arm_of_user = self._arms(users)
        truth.add_users(users, arm_of_user)
        visits = make_visits(simulation, users, block)
        for pages in make_pages(simulation, self.catalogue, users, visits, rng):
            in_trial = self._in_trial(pages)
            arm = np.where(in_trial, arm_of_user[pages.user], NO_ARM)
            base = base_rates(simulation, self.catalogue, users, pages)
            truth.add_pages(base, pages.relation, arm, in_trial)
            steps = draw(with_effects(base, self._effects, arm), rng)
            names = self._names.take(pa.array(arm, mask=arm == NO_ARM))
            yield self._rows.rows(users, pages, steps, names, rng)

    def _arms(self, users: Users) -> NDArray[np.int64]:
        """Return each user's arm in the trial's order, or `NO_ARM`, (users,)."""
        trial = self.simulation.trial
        if trial is None:
            return np.full(len(users.ids), NO_ARM)
        return self._arm_of_bucket[buckets(trial.seed, users.ids)]

    def _in_trial(self, pages: Pages) -> NDArray[np.bool_]:
        span = self.simulation.trial_span()
        if span is None:
            return np.zeros(len(pages.seconds), dtype=np.bool_)
        begin, end = ((moment - self.simulation.start).total_seconds() for moment in span)
        return (pages.seconds >= begin) & (pages.seconds < end)


def _arm_of_bucket(simulation: Simulation) -> NDArray[np.int64]:
    arms = np.full(BUCKETS, NO_ARM)
    if simulation.trial is not None:
        for number, (first, last) in enumerate(simulation.trial.bucket_ranges().values()):
            arms[first:last] = number
    return arms
