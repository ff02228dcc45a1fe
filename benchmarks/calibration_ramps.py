"""Is a ramp read without bias, when the shop changes and its most zealous users come first?

Three epochs of a week: the control has 40 % of all buckets throughout, the treatment 10, 20 and 40 %. Users come as
their zeal has it, zealous ones early and often; whoever is in no arm yet gets the default list and may come into the
treatment as that grows. Zealous users have other habits, and everybody buys more from week to week.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.health import SAMPLE_RATIO_ALPHA
from recsys.statistics.effects import effect, moments, sample_ratio_p_value
from recsys.statistics.strata import NO_STRATUM, standardise, strata_of

USERS = 10_000
LIFT = 0.08
WEEKS = (0, 1, 2)
"""Each is an epoch."""
CONTROL = 0.4
GROWTH = (0.1, 0.2, 0.4)
TREND = (1.0, 1.15, 1.35)
SLOTS = 10


def ramp(strata: str, users: int = USERS) -> Callable[[np.random.Generator, int], dict[str, int]]:
    """Grow one arm and compare: by strata of new units, by strata of all units, or pooled in spite of the ramp."""

    def simulate(generator: np.random.Generator, count: int) -> dict[str, int]:
        counted: Counter[str] = Counter()
        for _ in range(count):
            arm, epoch, hits, requests = _lived(generator, users, new_only=strata == "new units")
            parts = []
            for number in WEEKS:
                inside = epoch == number
                parts.append(
                    tuple(moments(hits[inside & (arm == which)], requests[inside & (arm == which)]) for which in (0, 1))
                )
            both = standardise(parts, pooled=strata == "pooled")
            found = effect("precision@10", both.control, both.treatment).relative
            units = {str(which): part.count() for which, part in enumerate(parts[1])}
            alarm = sample_ratio_p_value(units, {"0": CONTROL, "1": GROWTH[1]}) < SAMPLE_RATIO_ALPHA
            counted["sample ratio alarm, second epoch"] += alarm
            counted["relative interval holds the truth"] += found.holds(LIFT)
            counted["estimate above the truth"] += found.estimate > LIFT
        return dict(counted)

    return simulate


def _lived(
    generator: np.random.Generator, users: int, *, new_only: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return arm (0 control, 1 treatment), stratum, hits and requests of each unit that an arm was shown to."""
    bucket = generator.random(users)
    bucket = bucket[bucket < CONTROL + GROWTH[-1]]  # all others never see an arm
    zeal = generator.lognormal(0.0, 1.0, len(bucket))
    habit = generator.beta(3.0, 12.0, len(bucket)) * np.clip(0.7 + zeal / 7, None, 1.5)
    visits = generator.poisson(zeal[:, np.newaxis], (len(bucket), len(WEEKS)))
    shown = visits * (bucket[:, np.newaxis] < CONTROL + np.array(GROWTH))
    exposed = shown.any(axis=1)
    visits, shown, bucket, habit = visits[exposed], shown[exposed], bucket[exposed], habit[exposed]
    arm = (bucket >= CONTROL).astype(np.int64)
    first_visit, first_exposure = (np.argmax(weeks > 0, axis=1) for weeks in (visits, shown))
    stratum = strata_of(first_visit, first_exposure, WEEKS) if new_only else first_exposure
    chance = np.clip(habit[:, np.newaxis] * np.array(TREND) * (1 + LIFT * arm[:, np.newaxis]), 0, 1)
    hits = generator.binomial(SLOTS * shown, chance).sum(axis=1) / SLOTS
    kept = stratum != NO_STRATUM
    return arm[kept], stratum[kept], hits[kept], shown.sum(axis=1)[kept].astype(np.float64)
