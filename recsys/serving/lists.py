"""Which candidates of each list come first? Many lists at once, by the one rule: score, then the smaller item id."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

_NONE: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Lists:
    """Lists of candidates, one behind the other; a list may be empty."""

    rows: NDArray[np.int64]
    """[candidates] rows of the item matrix, which ascend by item id."""
    bounds: NDArray[np.int64]
    """[lists + 1] list i is `rows[bounds[i]:bounds[i + 1]]`."""

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.int64]]) -> "Lists":
        """Put lists behind one another."""
        if len(lists) == 1:
            return cls(lists[0], np.array([0, len(lists[0])]))
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        return cls(np.concatenate([_NONE, *lists]), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        """Return the number of lists, empty ones included."""
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """[lists] how many candidates each has."""
        return np.diff(self.bounds)

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """[candidates] the list of each."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def where(self, kept: NDArray[np.bool_]) -> "Lists":
        """Return the same lists with some of their candidates."""
        return Lists(self.rows[kept], np.concatenate([[0], np.cumsum(kept)])[self.bounds])


@dataclass(frozen=True)
class Best:
    """The candidates that lists keep."""

    places: NDArray[np.int64]
    """[kept] places of the candidates, list after list, best first."""
    bounds: NDArray[np.int64]
    """[lists + 1] list i keeps `places[bounds[i]:bounds[i + 1]]`."""

    @property
    def ranks(self) -> NDArray[np.int64]:
        """[kept] the place of each in its list, from 1."""
        return ranks(self.bounds)


def ranks(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of everything in its list, from 1; list i is from `bounds[i]` up to `bounds[i + 1]`."""
    return np.arange(1, bounds[-1] + 1) - np.repeat(bounds[:-1], np.diff(bounds))


def best(lists: Lists, scores: NDArray[np.float64], k: int | None = None) -> Best:
    """Return the first candidates of each list, as a request has them.

    Larger scores come first, of equal ones the smaller row (item id), and those without a number last. An item that a
    list names twice stands once, at its best score.

    Args:
        lists: the candidates.
        scores: [candidates].
        k: so many of each list at most; all if None.
    """
    worth = np.nan_to_num(scores, nan=-np.inf) if np.isnan(scores).any() else scores
    if len(lists) == 1:  # a request: there is nothing to keep apart
        places = np.lexsort((lists.rows, -worth))[:k]
        if len(set(lists.rows[places].tolist())) == len(places):
            return Best(places, np.array([0, len(places)]))
    near = _near(lists, worth, k)
    owner = lists.owner[near]
    order = np.lexsort((lists.rows[near], -worth[near], owner))
    places, owner = near[order], owner[order]
    repeating = _repeating(owner, lists.rows[places])
    if len(repeating):
        once = _once(lists, worth, repeating)
        found = best(lists.where(once), scores[once], k)
        return Best(np.flatnonzero(once)[found.places], found.bounds)
    counts = np.bincount(owner, minlength=len(lists))
    if k is not None:
        starts = np.cumsum(counts) - counts
        places = places[np.arange(len(places)) - starts[owner] < k]
        counts = np.minimum(counts, k)
    return Best(places, np.concatenate([[0], np.cumsum(counts)]))


def _near(lists: Lists, worth: NDArray[np.float64], k: int | None) -> NDArray[np.int64]:
    """Return the places of all that may be among the first k: what is no worse than a list's k-th.

    Lists of about one length are looked at together, as rows of a matrix of at most twice their size.
    """
    if k is None or not len(worth) or lists.lengths.max() <= k:
        return np.arange(len(worth))
    lengths = lists.lengths
    parts = [np.flatnonzero((lengths <= k)[lists.owner])]
    for members in _of_a_size(lengths, k):
        starts, longest = lists.bounds[members], int(lengths[members].max())
        places = starts[:, None] + np.arange(longest)
        there = np.arange(longest) < lengths[members][:, None]
        values = np.where(there, worth[np.minimum(places, len(worth) - 1)], -np.inf)
        least = np.partition(values, longest - k, axis=1)[:, longest - k]
        parts.append(places[there & (values >= least[:, None])])
    return np.concatenate(parts)


def _of_a_size(lengths: NDArray[np.int64], k: int) -> Sequence[NDArray[np.int64]]:
    """Return the lists of more than k candidates, those of up to twice a length together."""
    long = np.flatnonzero(lengths > k)
    _, exponent = np.frexp(lengths[long])
    return [long[exponent == each] for each in np.unique(exponent)]


def _repeating(owner: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lists in which an item stands twice."""
    size = int(rows.max(initial=0)) + 1
    keys = np.sort(owner * size + rows)
    return np.unique(keys[1:][keys[1:] == keys[:-1]] // size)


def _once(lists: Lists, worth: NDArray[np.float64], repeating: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which candidates are the best of their item in their list; only some lists need to be looked at."""
    looked_at = np.zeros(len(lists), dtype=bool)
    looked_at[repeating] = True
    once = ~looked_at[lists.owner]
    places = np.flatnonzero(~once)
    order = places[np.lexsort((-worth[places], lists.rows[places], lists.owner[places]))]
    owner, rows = lists.owner[order], lists.rows[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (owner[1:] != owner[:-1]) | (rows[1:] != rows[:-1])
    once[order[first]] = True
    return once
