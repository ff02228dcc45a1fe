"""Into which of 10,000 buckets does a unit fall?

The hash is GrowthBook's version 2, `fnv1a32(str(fnv1a32(seed + unit))) % 10000`, so that web and mobile SDKs
compute the same bucket. FNV-1a runs over UTF-16 code units, as `charCodeAt` does in JavaScript.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.errors import ExperimentError

BUCKETS: Final = 10_000

Units: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str]
"""Ids, as Arrow text of any layout or as a sequence of str."""

_OFFSET: Final = 0x811C9DC5
_PRIME: Final = 0x01000193
_MASK: Final = 0xFFFFFFFF
_ASCII: Final = 0x80
_FOUR_BYTES: Final = 0xF0
"""From this lead byte on, UTF-8 takes four bytes and UTF-16 two code units."""
_CHUNK: Final = 16_384
"""Rows hashed at once, so that their states stay in the second-level cache."""
_WORD: Final = 4
"""Bytes gathered at once."""
_TAIL: Final = 100_000
"""Splits a 32-bit number into a head of at most five digits and a tail of exactly five."""


def bucket(seed: str, unit: str) -> int:
    """Return the bucket of one unit.

    Args:
        seed: the experiment's or the layer's seed; joined to the unit without a separator.
        unit: the unit's id, any text, lone surrogates included.

    Returns:
        A whole number in [0, 10,000).
    """
    return _fnv1a(str(_fnv1a(seed + unit))) % BUCKETS


def buckets(seed: str, units: Units) -> NDArray[np.int32]:
    """Return the bucket of every unit, each equal to `bucket(seed, unit)`.

    Args:
        seed: the experiment's or the layer's seed.
        units: ids, as Arrow text of any layout or as a sequence of str; no nulls.

    Returns:
        One bucket a unit, int32, in the order of `units`.

    Raises:
        ExperimentError: if a unit is null or not text.
    """
    try:
        arrays = list(_arrays(units))
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form, so such text cannot enter Arrow
        return np.fromiter((bucket(seed, unit) for unit in units), dtype=np.int32, count=len(units))
    result = np.empty(sum(len(array) for array in arrays), dtype=np.int32)
    start, done = np.uint32(_fnv1a(seed)), 0
    for array in arrays:
        for first in range(0, len(array), _CHUNK):
            state = _hash_units(start, array[first : first + _CHUNK])
            result[done : done + len(state)] = _hash_decimal(state) % np.uint32(BUCKETS)
            done += len(state)
    return result


def _fnv1a(text: str) -> int:
    state = _OFFSET
    if text.isascii():
        for byte in text.encode():
            state = ((state ^ byte) * _PRIME) & _MASK
        return state
    data = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(data[::2], data[1::2], strict=True):
        state = ((state ^ (low | high << 8)) * _PRIME) & _MASK
    return state


def _arrays(units: Units) -> Iterator[pa.Array]:
    """Yield the ids as large Arrow strings without nulls."""
    if not isinstance(units, pa.Array | pa.ChunkedArray):
        strange = next((unit for unit in units if not isinstance(unit, str)), "")
        if not isinstance(strange, str):
            message = f"unit {strange!r} is not text; every assigned unit has an id: leave such rows out"
            raise ExperimentError(message)
        units = pa.array(units, type=pa.large_string())
    if units.null_count:
        message = f"{units.null_count} of {len(units)} units are null; every assigned unit has an id: leave them out"
        raise ExperimentError(message)
    for array in units.chunks if isinstance(units, pa.ChunkedArray) else (units,):
        kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            message = f"units have the Arrow type {array.type}; ids are text: cast them to string"
            raise ExperimentError(message)
        yield array.cast(pa.large_string())


def _hash_units(start: np.uint32, array: pa.Array) -> NDArray[np.uint32]:
    """Return FNV-1a of each row's UTF-16 code units, started from the seed's state."""
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data: NDArray[Any] = np.frombuffer(data_buffer or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    if data.size and data.max() >= _ASCII:
        # Below 128 bytes are code units; beyond, every row is counted and written anew in code units.
        starts_character = (data & 0xC0) != _ASCII
        units_before = np.concatenate(([0], np.cumsum(starts_character.astype(np.int64) + (data >= _FOUR_BYTES))))
        offsets = units_before[offsets]
        data = np.frombuffer(data.tobytes().decode().encode("utf-16-le"), dtype="<u2")
    return _hash_rows(start, data, offsets)


def _hash_rows(start: np.uint32, data: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Hash rows of code units column by column, longest rows first, so that those still open are a prefix."""
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    same = longest == int(lengths.min())
    order = np.arange(len(lengths)) if same else np.argsort(-lengths, kind="stable")
    begins = offsets[:-1][order]
    open_rows = len(lengths) - np.cumsum(np.bincount(lengths, minlength=longest + 1))
    words, per_word, bits = _words(data)
    state = np.full(len(lengths), start, dtype=np.uint32)
    word = np.empty(0, dtype=np.uint32)
    for column in range(longest):
        count = int(open_rows[column])
        if column % per_word == 0:
            word = words[begins[:count] + column]
        mask = np.uint32((1 << bits) - 1)
        state[:count] ^= (word[:count] >> np.uint32(bits * (column % per_word))) & mask
        state[:count] *= np.uint32(_PRIME)
    if same:
        return state
    result = np.empty_like(state)
    result[order] = state
    return result


def _words(data: NDArray[Any]) -> tuple[NDArray[np.uint32], int, int]:
    """Return a view reading four bytes from any code unit on, the units in them, and the bits of one."""
    size = data.dtype.itemsize
    padded = np.concatenate((data, np.zeros(_WORD // size, dtype=data.dtype)))
    words: NDArray[np.uint32] = np.ndarray((len(data) + 1,), dtype="<u4", buffer=padded.data, strides=(size,))
    return words, _WORD // size, 8 * size


def _hash_decimal(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return FNV-1a of each number written in decimal without leading zeros."""
    head = numbers // np.uint32(_TAIL)
    tail = numbers - head * np.uint32(_TAIL)
    state: NDArray[np.uint32] = _heads()[head]
    for power in (10_000, 1_000, 100, 10, 1):
        digit = tail // np.uint32(power)
        tail -= digit * np.uint32(power)
        digit += np.uint32(ord("0"))
        state ^= digit
        state *= np.uint32(_PRIME)
    # One number in 43,000 has no head, and so no leading zeros in its tail.
    for index in np.flatnonzero(head == 0):
        state[index] = _fnv1a(str(numbers[index]))
    return state


@cache
def _heads() -> NDArray[np.uint32]:
    """Return the state after the digits of every possible head, leading zeros not written."""
    numbers = np.arange(_MASK // _TAIL + 1, dtype=np.uint32)
    states = np.full(len(numbers), _OFFSET, dtype=np.uint32)
    for power in (10_000, 1_000, 100, 10, 1):
        digits = numbers // np.uint32(power) % np.uint32(10) + np.uint32(ord("0"))
        written = (numbers >= power) | (power == 1)
        states = np.where(written, (states ^ digits) * np.uint32(_PRIME), states)
    return states
