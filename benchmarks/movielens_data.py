"""How are MovieLens-100k's ratings read, and split as Microsoft Recommenders splits them?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / ".oracles" / "recbole" / "dataset_example" / "ml-100k"
"""What `make oracles` fetches; only the data is read, nothing of the package is imported."""


@dataclass(frozen=True)
class Ratings:
    """Who rated which film when, one value a rating, in the order of the file."""

    user: NDArray[np.int64]
    """Codes from 0."""
    item: NDArray[np.int64]
    """Codes from 0."""
    rating: NDArray[np.float64]
    """1 to 5 stars."""
    timestamp: NDArray[np.float64]
    """Seconds since 1970."""

    def __len__(self) -> int:
        """Return the number of ratings."""
        return len(self.user)

    def take(self, chosen: NDArray[np.bool_]) -> "Ratings":
        """Return the chosen ratings."""
        return Ratings(self.user[chosen], self.item[chosen], self.rating[chosen], self.timestamp[chosen])


@dataclass(frozen=True)
class MovieLens:
    """What is known of films and people, without a rating: who learns from it learns nothing of a test."""

    genres: NDArray[np.float64]
    """[items, genres] 1 where a film is of a genre."""
    year: NDArray[np.float64]
    """[items] of release; the median where unknown."""
    groups: NDArray[np.float64]
    """[users, groups] 1 where a user is of a gender, an age band of ten years or an occupation."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return how many users and items there are."""
        return len(self.groups), len(self.genres)


def read(folder: Path = FOLDER) -> tuple[Ratings, MovieLens]:
    """Read the atomic files; ids are numbers from 1 without a gap, so codes are ids less 1."""
    ratings, users, items = (_read(folder, kind) for kind in ("inter", "user", "item"))
    genres = items["class"].str.get_dummies(sep=" ")
    year = pd.to_numeric(items["release_year"], errors="coerce")
    groups = pd.get_dummies(
        pd.DataFrame({"gender": users["gender"], "age": users["age"] // 10, "occupation": users["occupation"]}).astype(
            str
        )
    )
    rated = Ratings(
        user=ratings["user_id"].to_numpy(np.int64) - 1,
        item=ratings["item_id"].to_numpy(np.int64) - 1,
        rating=ratings["rating"].to_numpy(np.float64),
        timestamp=ratings["timestamp"].to_numpy(np.float64),
    )
    return rated, MovieLens(
        genres=genres.to_numpy(np.float64),
        year=year.fillna(year.median()).to_numpy(np.float64),
        groups=groups.to_numpy(np.float64),
    )


def _read(folder: Path, kind: str) -> pd.DataFrame:
    table = pd.read_csv(folder / f"ml-100k.{kind}", sep="\t", encoding="utf-8")
    return table.rename(columns=lambda name: name.split(":")[0])


def train_rows(ratings: Ratings, seed: int, ratio: float = 0.75) -> NDArray[np.bool_]:
    """Say which ratings train: the first round(ratio × n) of each item's n ratings in random order.

    `python_stratified_split` of Recommenders with filter_by="item": one random column in file order, by NumPy's old
    generator; seed 42 there.
    """
    random = np.random.RandomState(seed).rand(len(ratings))
    order = np.lexsort((random, ratings.item))
    counts = np.bincount(ratings.item)
    place = np.empty(len(ratings), dtype=np.int64)
    place[order] = np.arange(len(ratings)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place < np.round(counts * ratio)[ratings.item]


def folds(ratings: Ratings, count: int, seed: int) -> NDArray[np.int64]:
    """Number each rating's fold; each item's ratings are spread over all of them as evenly as they can be."""
    order = np.lexsort((np.random.default_rng(seed).random(len(ratings)), ratings.item))
    fold = np.empty(len(ratings), dtype=np.int64)
    fold[order] = np.arange(len(ratings)) % count
    return fold
