"""Which stream of random numbers belongs to what, and which number is whose?

Every part of a shop has a stream of its own, derived from the seed and the part's place: a block of users comes out
the same whichever blocks are made before it, at the same time or not at all.
"""

from enum import IntEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_DIGITS: Final = 7
"""Digits of an id at least, so that ids of most shops do not depend on its size."""


class Stream(IntEnum):
    """What draws from a stream."""

    CATALOGUE = 0
    POPULATION = 1
    VISITS = 2
    PAGES = 3


def generator(seed: int, stream: Stream, block: int = 0) -> np.random.Generator:
    """Return a stream's generator, at its beginning."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(stream), block))))


def ragged_positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0, 1, … within each group.

    Args:
        counts: rows of each group, (groups,).

    Returns:
        The row's place in its group, (sum of counts,).
    """
    ends = np.cumsum(counts)
    return np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)


def numbered(prefix: str, first: int, count: int, total: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return ids with as many digits as the largest of all needs, strings, (count,).

    Args:
        prefix: stands before the number.
        first: the first number.
        count: how many.
        total: how many there are in all.
    """
    numbers = pa.array(np.arange(first, first + count)).cast(pa.string())
    digits = max(_DIGITS, len(str(total - 1)))
    return pc.binary_join_element_wise(prefix, pc.utf8_lpad(numbers, digits, "0"), "")
