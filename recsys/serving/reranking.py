"""What happens to the model's order before a list is shown? Caps, diversity, pinned items and an exploration slot."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool
from recsys.errors import FeatureError
from recsys.specs.reranking import Cap, Diversity, Explore, Pin, Stage

MayGet = Callable[[NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Ranked:
    """A list on its way to the page, best first."""

    rows: NDArray[np.int64]
    """[items] rows of the pool."""
    scores: NDArray[np.float64]
    """[items] the model's; NaN of a pinned item that no source gave."""
    ranks: NDArray[np.int64]
    """[items] place in the model's own order, from 1; 0 of a pinned item that no source gave."""
    propensities: NDArray[np.float64]
    """[items] the chance with which each came to its slot."""

    @classmethod
    def of(cls, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> "Ranked":
        """Begin with the model's order."""
        return cls(rows, scores, np.arange(1, len(rows) + 1), np.ones(len(rows)))

    @classmethod
    def none(cls) -> "Ranked":
        """Return an empty list."""
        return cls.of(np.empty(0, dtype=np.int64), np.empty(0))

    @classmethod
    def joined(cls, *parts: "Ranked") -> "Ranked":
        """Put some of them behind one another."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.propensities for part in parts]),
        )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.rows)

    def take(self, places: NDArray[np.int64]) -> "Ranked":
        """Return some of the items, in another order or none."""
        return Ranked(self.rows[places], self.scores[places], self.ranks[places], self.propensities[places])


def rerank(
    stages: Sequence[Stage], ranked: Ranked, pool: ItemPool, may_get: MayGet, slots: int, request_id: str
) -> Ranked:
    """Carry a placement's stages out, one after another.

    Args:
        stages: as declared.
        ranked: all candidates in the model's order.
        pool: the items and what is known of them.
        may_get: tells of rows of the pool which the filters let into this list; asked of pinned items.
        slots: how many items are shown.
        request_id: the same id draws the same item for an exploration slot.

    Returns:
        [at most slots] what is shown.

    Raises:
        FeatureError: if a stage names a feature that the pool's view does not have.
    """
    for step in after_each(stages, ranked, pool, may_get, slots, request_id):
        ranked = step
    return ranked.take(np.arange(min(slots, len(ranked))))


def after_each(
    stages: Sequence[Stage], ranked: Ranked, pool: ItemPool, may_get: MayGet, slots: int, request_id: str
) -> Iterator[Ranked]:
    """Yield what each stage makes of what the one before it left; the arguments are those of `rerank`."""
    for stage in stages:
        if isinstance(stage, Cap):
            ranked = _capped(stage, ranked, pool)
        elif isinstance(stage, Diversity):
            ranked = _diverse(stage, ranked, pool, slots)
        elif isinstance(stage, Pin):
            ranked = _pinned(stage, ranked, pool, may_get)
        elif isinstance(stage, Explore):
            ranked = _explored(stage, ranked, slots, request_id)
        yield ranked


def _capped(stage: Cap, ranked: Ranked, pool: ItemPool) -> Ranked:
    kinds = _codes(pool, stage.by, "cap")[ranked.rows]
    order = np.argsort(kinds, kind="stable")
    starts = np.flatnonzero(np.diff(kinds[order], prepend=-1))
    within = np.arange(len(kinds)) - np.repeat(starts, np.diff(np.append(starts, len(kinds))))
    return ranked.take(np.sort(order[within < stage.most]))


def _diverse(stage: Diversity, ranked: Ranked, pool: ItemPool, slots: int) -> Ranked:
    count = min(stage.among, len(ranked))
    if count < 2:  # noqa: PLR2004 - nothing to choose between
        return ranked
    kinds = np.column_stack([_codes(pool, name, "diversity")[ranked.rows[:count]] for name in stage.by])
    relevance = (1 - stage.weight) * _scaled(ranked.scores[:count])
    nearest = np.zeros(count)
    left = np.ones(count, dtype=bool)
    chosen = []
    for _ in range(min(slots, count)):
        worth = np.where(left, relevance - stage.weight * nearest, -np.inf)
        best = int(np.argmax(worth))
        chosen.append(best)
        left[best] = False
        np.maximum(nearest, (kinds == kinds[best]).mean(axis=1), out=nearest)
    rest = np.flatnonzero(left)
    return ranked.take(np.concatenate([np.array(chosen, dtype=np.int64), rest, np.arange(count, len(ranked))]))


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.where(np.isfinite(scores), scores, np.nan)
    if np.isnan(known).all():
        return np.zeros(len(scores))
    low, high = np.nanmin(known), np.nanmax(known)
    scaled: NDArray[np.float64] = np.nan_to_num((known - low) / (high - low) if high > low else known * 0, nan=0.0)
    return scaled


def _pinned(stage: Pin, ranked: Ranked, pool: ItemPool, may_get: MayGet) -> Ranked:
    wanted = pool.locate(pa.array(stage.items, pa.string()))
    wanted = wanted[wanted >= 0]
    wanted = wanted[may_get(wanted)]
    _, first = np.unique(wanted, return_index=True)
    wanted = wanted[np.sort(first)]
    places = {int(row): place for place, row in enumerate(ranked.rows)}
    pins = Ranked(wanted, np.full(len(wanted), np.nan), np.zeros(len(wanted), dtype=np.int64), np.ones(len(wanted)))
    for slot, row in enumerate(wanted):
        if (place := places.get(int(row))) is not None:
            pins.scores[slot], pins.ranks[slot] = ranked.scores[place], ranked.ranks[place]
    others = ranked.take(np.flatnonzero(~np.isin(ranked.rows, wanted)))
    above = min(stage.position - 1, len(others))
    return Ranked.joined(others.take(np.arange(above)), pins, others.take(np.arange(above, len(others))))


def _explored(stage: Explore, ranked: Ranked, slots: int, request_id: str) -> Ranked:
    following = np.arange(slots, min(slots + stage.among, len(ranked)))
    if not len(following) or stage.position > slots:
        return ranked
    seed = int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")
    rng = np.random.default_rng(seed)
    drawn = int(rng.integers(len(following)))
    explores = stage.share == 1 or rng.random() < stage.share
    places = np.arange(slots)
    if explores:
        places[stage.position - 1] = following[drawn]
    shown = ranked.take(places)
    shown.propensities[stage.position - 1] = stage.share / len(following) if explores else 1 - stage.share
    return shown


def _codes(pool: ItemPool, feature: str, what: str) -> NDArray[np.int64]:
    """Return a number for each value of a text, [pool]."""
    if feature not in pool.columns:
        message = f"rerank {what}: {feature!r} is not a feature of the pool's view, which has {', '.join(pool.columns)}"
        raise FeatureError(message)
    codes: NDArray[Any] = pool.codes(feature)
    return codes.astype(np.int64)
