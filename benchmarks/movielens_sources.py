"""What does each simple recommender make of MovieLens' users, as a score of every item?

Each takes what is known and returns [users, items]. The item-item models are the project's own; the rest are a few
lines each, as baselines and as features of the second stage.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from movielens_data import MovieLens, Ratings
from numpy.typing import NDArray

from recsys.candidates.item_models import covisitation, ease, interactions

Scores = NDArray[np.float32]
Source = Callable[[Ratings, MovieLens], Scores]
DAY: Final = 86_400


def popularity(known: Ratings, data: MovieLens) -> Scores:
    """Score by the number of ratings."""
    users, items = data.shape
    return np.tile(np.bincount(known.item, minlength=items).astype(np.float32), (users, 1))


def sar(known: Ratings, data: MovieLens) -> Scores:
    """Score as Recommenders' SAR: Jaccard similarity, ratings that lose half their weight in 30 days.

    Its rescaling to the range of the ratings is the same for all items of a user, and left out.
    """
    common = _gram(_once(known, data))
    alone = np.diag(common)
    either = alone[:, np.newaxis] + alone - common
    jaccard = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    decay = np.exp2((known.timestamp - known.timestamp.max()) / (30 * DAY))
    affinity = np.zeros(data.shape)
    affinity[known.user, known.item] = known.rating * decay
    return (affinity @ jaccard).astype(np.float32)


def cosine(known: Ratings, data: MovieLens) -> Scores:
    """Score by the 100 nearest neighbours of each item."""
    matrix = _once(known, data)
    return covisitation(matrix, neighbours=100, minimum=1).scores_many(matrix)


def adjacent(known: Ratings, data: MovieLens, reach: int = 10, scale: float = 5.0) -> Scores:
    """Score by items that were rated shortly before or after those of the user, by anybody."""
    user, item, _ = _sequence(known)
    near = np.zeros((data.shape[1],) * 2, dtype=np.float32)
    for lag in range(1, reach + 1):
        same = user[lag:] == user[:-lag]
        np.add.at(near, (item[lag:][same], item[:-lag][same]), np.exp(-lag / scale))
    near += near.T
    count = np.bincount(item, minlength=data.shape[1]) + 5.0
    near /= np.sqrt(count[:, np.newaxis] * count)
    return np.asarray(_once(known, data) @ near, dtype=np.float32)


def ease_items(known: Ratings, data: MovieLens, l2: float = 500.0) -> Scores:
    """Score by EASE^R."""
    matrix = _once(known, data)
    return ease(matrix, l2=l2, memory_limit=None).scores_many(matrix)


def ease_dropout(known: Ratings, data: MovieLens, l2: float = 500.0, dropout: float = 0.7) -> Scores:
    """Score by EDLAE, EASE^R whose l2 grows with an item's ratings as under dropout (Steck, NeurIPS 2020).

    An l2 of its own for each item is an l2 of 1 over columns that are divided by the roots of theirs.
    """
    root = np.sqrt(l2 + dropout / (1 - dropout) * np.bincount(known.item, minlength=data.shape[1]))
    scaled = interactions(known.user, known.item, 1 / root[known.item], data.shape)
    return np.asarray(ease(scaled, l2=1.0, memory_limit=None).scores_many(scaled) * root, dtype=np.float32)


def ease_users(known: Ratings, data: MovieLens, l2: float = 600.0) -> Scores:
    """Score by EASE^R between users: who else rated the item."""
    matrix = _once(known, data).T.tocsr()
    return ease(matrix, l2=l2, memory_limit=None).scores_many(matrix).T


def ease_windows(known: Ratings, data: MovieLens, width: int = 15, l2: float = 150.0) -> Scores:
    """Score by EASE^R fitted on runs of ratings of one user instead of on users."""
    user, item, place = _sequence(known)
    _, window = np.unique(user * len(known) + place // width, return_inverse=True)
    runs = interactions(window, item, np.ones(len(item)), (int(window.max()) + 1, data.shape[1]))
    return ease(runs, l2=l2, memory_limit=None).scores_many(_once(known, data))


def ease_liked(known: Ratings, data: MovieLens, l2: float = 500.0) -> Scores:
    """Score by EASE^R's weights of what the user rated above or below the user's own mean."""
    matrix = _once(known, data)
    mean = np.bincount(known.user, known.rating, data.shape[0]) / np.maximum(1, np.diff(matrix.indptr))
    liked = interactions(known.user, known.item, known.rating - mean[known.user], data.shape)
    return ease(matrix, l2=l2, memory_limit=None).scores_many(liked)


def als(known: Ratings, data: MovieLens, factors: int, l2: float, alpha: float = 2.0) -> Scores:
    """Score by implicit matrix factorisation, eight rounds of alternating least squares (Hu et al., ICDM 2008)."""
    seen = _once(known, data).toarray().astype(np.float64)
    item = np.random.default_rng(0).normal(0, 0.1, (data.shape[1], factors))
    user = np.empty((data.shape[0], factors))
    for _ in range(8):
        user = _half(seen, item, l2, alpha)
        item = _half(seen.T, user, l2, alpha)
    return (user @ item.T).astype(np.float32)


def _half(seen: NDArray[np.float64], fixed: NDArray[np.float64], l2: float, alpha: float) -> NDArray[np.float64]:
    factors = fixed.shape[1]
    squares = (fixed[:, :, np.newaxis] * fixed[:, np.newaxis, :]).reshape(len(fixed), -1)
    left = alpha * (seen @ squares).reshape(-1, factors, factors) + fixed.T @ fixed + l2 * np.eye(factors)
    solved: NDArray[np.float64] = np.linalg.solve(left, (1 + alpha) * (seen @ fixed)[:, :, np.newaxis])[:, :, 0]
    return solved


def season(known: Ratings, data: MovieLens, width_days: float = 7.0) -> Scores:
    """Score by the item's share of all ratings around the days on which the user rated."""
    day = ((known.timestamp - known.timestamp.min()) // DAY).astype(np.int64)
    days = np.arange(day.max() + 1)
    kernel = np.exp(-0.5 * ((days[:, np.newaxis] - days) / width_days) ** 2)
    of_items = interactions(day, known.item, np.ones(len(day)), (len(days), data.shape[1])).toarray()
    of_users = interactions(known.user, day, np.ones(len(day)), (data.shape[0], len(days))).toarray()
    smooth = kernel @ of_items
    share = smooth / np.maximum(1e-9, smooth.sum(axis=1, keepdims=True))
    return (of_users / np.maximum(1, of_users.sum(axis=1, keepdims=True)) @ share).astype(np.float32)


def genre(known: Ratings, data: MovieLens) -> Scores:
    """Score by how much more of the item's genres the user rated than others did."""
    return _lift(_once(known, data).toarray(), data.genres)


def decade(known: Ratings, data: MovieLens) -> Scores:
    """Score by how much more of the item's years the user rated than others did."""
    borders = np.array([1940, 1960, 1970, 1980, 1990, 1993, 1995, 1996, 1997, 1998])
    return _lift(_once(known, data).toarray(), np.eye(len(borders) + 1)[np.searchsorted(borders, data.year, "right")])


def _lift(seen: NDArray[np.float32], parts: NDArray[np.float64]) -> Scores:
    parts = parts / np.maximum(1, parts.sum(axis=1, keepdims=True))
    expected = seen.sum(axis=0) @ parts / seen.sum()
    of_user = (seen @ parts + 10 * expected) / (seen.sum(axis=1, keepdims=True) + 10)
    return (np.log(of_user / np.maximum(1e-9, expected)) @ parts.T).astype(np.float32)


def people(known: Ratings, data: MovieLens) -> Scores:
    """Score by how much more people of the user's gender, age and occupation rated the item than others did."""
    seen = _once(known, data).toarray()
    rate = seen.sum(axis=0) / data.shape[0]
    members = data.groups.sum(axis=0)[:, np.newaxis]
    lift = np.log((data.groups.T @ seen + 20 * rate + 0.1) / (members * rate + 20 * rate + 0.1))
    return (data.groups @ lift).astype(np.float32)


def _once(known: Ratings, data: MovieLens) -> Any:  # noqa: ANN401 - scipy has no types
    """Return users × items, 1 where there is a rating."""
    return interactions(known.user, known.item, np.ones(len(known)), data.shape)


def _gram(matrix: Any) -> NDArray[np.float64]:  # noqa: ANN401 - scipy has no types
    return np.asarray((matrix.T @ matrix).toarray(), dtype=np.float64)


def _sequence(known: Ratings) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return users, items and each rating's place among its user's, by user and time; ties fall to the item."""
    order = np.lexsort((known.item, known.timestamp, known.user))
    user = known.user[order]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    return user, known.item[order], place


SOURCES: Final[Mapping[str, Source]] = {
    "popularity": popularity,
    "sar": sar,
    "cosine": cosine,
    "adjacent": adjacent,
    "adjacent_30": lambda known, data: adjacent(known, data, reach=30, scale=15.0),
    "ease": ease_items,
    "ease_dropout": ease_dropout,
    "ease_users": ease_users,
    "ease_windows": ease_windows,
    "ease_windows_30": lambda known, data: ease_windows(known, data, width=30, l2=200.0),
    "ease_liked": ease_liked,
    "als_24": lambda known, data: als(known, data, factors=24, l2=40.0, alpha=4.0),
    "als_24_alpha_8": lambda known, data: als(known, data, factors=24, l2=60.0, alpha=8.0),
    "als_32": lambda known, data: als(known, data, factors=32, l2=60.0, alpha=7.0),
    "season": season,
    "genre": genre,
    "decade": decade,
    "people": people,
}
"""The baselines and what the second stage knows."""

STRONG: Final = ("ease", "ease_windows_30", "als_24", "als_24_alpha_8", "adjacent")
"""Those that find the most on their own, of each kind; their mean is one more column."""
