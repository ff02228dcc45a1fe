"""What are ids as strange as Unicode allows?"""

import numpy as np

_LIMITS = np.array([0x80, 0x800, 0x10000 - 0x800, 0x110000 - 0x800])
"""Code points that a string is drawn from: ASCII, up to two bytes of UTF-8, one code unit of UTF-16, all."""


def random_ids(count: int, seed: int, shortest: int = 0) -> list[str]:
    """Return strings of up to 23 code points; a quarter of them is ASCII, a quarter draws from all of Unicode."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, 24, count)
    limits = np.repeat(rng.choice(_LIMITS, count), lengths)
    points = (rng.random(len(limits)) * limits).astype("<u4")
    points += np.where(points >= 0xD800, 0x800, 0).astype("<u4")  # surrogates are no characters
    text = points.tobytes().decode("utf-32-le")
    ends = np.cumsum(lengths).tolist()
    return [text[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
