"""How is traffic shared out? In buckets of 1/10,000, so that shares are whole numbers and never drift."""

from typing import Final

RATIO_UNITS: Final = 10_000
"""Buckets of all traffic."""

Share = tuple[float, float]
"""[from, to) of the traffic, as declared."""


def to_buckets(share: float) -> int:
    """Return a share of traffic in buckets of 1/10,000; finer shares are refused."""
    buckets = round(share * RATIO_UNITS)
    if abs(buckets - share * RATIO_UNITS) > 1e-6:  # noqa: PLR2004 - float noise of a four-digit decimal
        message = f"{share} is finer than 1/10,000, the size of one bucket"
        raise ValueError(message)
    return buckets


def bucket_range(share: Share) -> tuple[int, int]:
    """Return [from, to) in buckets."""
    return to_buckets(share[0]), to_buckets(share[1])


def checked_share(share: Share, what: str) -> Share:
    """Return a declared [from, to) as it is.

    Raises:
        ValueError: if it is empty, lies outside [0, 1), or is finer than a bucket.
    """
    first, last = bucket_range(share)
    if not 0 <= first < last <= RATIO_UNITS:
        message = f"{what} is [from, to) with 0 <= from < to <= 1, not [{share[0]}, {share[1]}]"
        raise ValueError(message)
    return share


def checked_seed(seed: str) -> str:
    """Return a seed as it is.

    Raises:
        ValueError: if it does not end in a colon.
    """
    if not seed.endswith(":"):
        message = f"seed {seed!r} has to end in a colon: seed and unit id are joined without a separator"
        raise ValueError(message)
    return seed


def overlap(left: Share, right: Share) -> bool:
    """Tell whether two shares have a bucket in common."""
    (first, last), (begin, end) = bucket_range(left), bucket_range(right)
    return first < end and begin < last
