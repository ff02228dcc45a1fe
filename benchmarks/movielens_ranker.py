"""How does a CatBoost ranker order what EASE^R finds, learning from training ratings only?

1. The known ratings are dealt into folds. For each fold the sources are fitted on the other folds, EASE^R's best unseen
   items of every user are the candidates, and the fold's ratings are the labels: no source has seen a label of its
   rows. The tables of all folds are learned from together.
2. Users are dealt into groups. A group is scored by a model that learned from the other groups' rows and stopped early
   by one of them. Without this the model meets its own questions in training: what is held out is unseen in every fold,
   so each pair that is to be found has stood there as a negative.
3. At the end the sources are fitted on all that is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from movielens_data import MovieLens, Ratings, folds
from movielens_sources import SOURCES, STRONG, Scores
from numpy.typing import NDArray

from recsys.adapters.catboost_ranker import CatBoostEstimator
from recsys.ports import TrainingRows
from recsys.specs.model import CatBoostAlgorithm

DAY = 86_400


@dataclass(frozen=True)
class Design:
    """What was chosen on inner splits of the training ratings."""

    algorithm: CatBoostAlgorithm = field(
        default_factory=lambda: CatBoostAlgorithm(type="catboost", loss="Logloss", iterations=300, depth=4)
    )
    candidates: int = 150
    """A user."""
    folds: int = 4
    groups: int = 5
    """Of users; one is scored, one stops the fit, the others are learned from."""
    negatives: int = 40
    """Of a user and fold, sampled from the candidates that are not among the labels."""
    threads: int = 2
    """For a fit."""


@dataclass(frozen=True)
class Table:
    """Candidates of all users, [users × candidates] rows by user, items ascending."""

    items: NDArray[np.int64]
    """[users, candidates]."""
    columns: dict[str, NDArray[np.float32]]
    """[rows] each."""

    def rows(self, users: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
        """Return the columns of some users' rows."""
        chosen = np.repeat(users, self.items.shape[1])
        return {name: values[chosen] for name, values in self.columns.items()}


def two_stage(known: Ratings, data: MovieLens, design: Design, seed: int, scored: dict[str, Scores]) -> Scores:
    """Return the scores of the candidates, [users, items], -inf elsewhere.

    Args:
        known: all that may be learned from.
        data: the films and people.
        design: how.
        seed: of folds, groups and CatBoost.
        scored: every source fitted on `known`.
    """
    fold = folds(known, design.folds, seed)
    chance = np.random.default_rng(seed)
    requests = []
    for held in range(design.folds):
        rest = known.take(fold != held)
        table = make_table(rest, data, {name: source(rest, data) for name, source in SOURCES.items()}, design)
        label = np.take_along_axis(seen_by(known.take(fold == held), data), table.items, axis=1)
        requests.append(sampled(table, label, design.negatives, chance))
    question = make_table(known, data, scored, design)
    group = chance.permutation(data.shape[0]) % design.groups
    result = np.full(data.shape, -np.inf, dtype=np.float32)
    for asked in range(design.groups):
        stop = (asked + 1) % design.groups
        algorithm = design.algorithm.model_copy(update={"seed": design.groups * seed + asked})
        ranker = CatBoostEstimator(algorithm, tuple(question.columns), threads=design.threads).fit(
            learned(requests, (group != asked) & (group != stop)), learned(requests, group == stop)
        )
        users = group == asked
        scores = ranker.score(question.rows(users)).reshape(-1, design.candidates)
        part = result[users]
        np.put_along_axis(part, question.items[users], scores.astype(np.float32), axis=1)
        result[users] = part
    return result


@dataclass(frozen=True)
class Requests:
    """Rows to learn from, of all users, ascending by user."""

    user: NDArray[np.int64]
    columns: dict[str, NDArray[np.float32]]
    label: NDArray[np.float32]


def sampled(table: Table, label: NDArray[np.bool_], negatives: int, chance: np.random.Generator) -> Requests:
    """Keep all of a user's labels and a sample of the other candidates."""
    place = np.argsort(np.argsort(np.where(label, 2.0, chance.random(label.shape)), axis=1), axis=1)
    kept = (label | (place < negatives)).ravel()
    return Requests(
        user=np.repeat(np.arange(len(label)), label.shape[1])[kept],
        columns={name: values[kept] for name, values in table.columns.items()},
        label=label.ravel()[kept].astype(np.float32),
    )


def learned(requests: Sequence[Requests], users: NDArray[np.bool_]) -> TrainingRows:
    """Return some users' rows of all folds; a request is a user in a fold."""
    chosen = [users[each.user] for each in requests]
    return TrainingRows(
        columns={
            name: np.concatenate([each.columns[name][rows] for each, rows in zip(requests, chosen, strict=True)])
            for name in requests[0].columns
        },
        label=np.concatenate([each.label[rows] for each, rows in zip(requests, chosen, strict=True)]),
        request=np.concatenate(
            [
                fold * len(users) + each.user[rows]
                for fold, (each, rows) in enumerate(zip(requests, chosen, strict=True))
            ]
        ),
    )


def make_table(known: Ratings, data: MovieLens, scored: dict[str, Scores], design: Design) -> Table:
    """Take EASE^R's best unseen items of every user and describe them.

    A source's column is its score, standardised among the user's candidates: scores grow with what is known, and there
    is more of it at the end than in a fold.
    """
    unseen = np.where(seen_by(known, data), -np.inf, scored["ease"])
    items = np.sort(np.argsort(-unseen, axis=1, kind="stable")[:, : design.candidates], axis=1)
    columns = {}
    for name, scores in scored.items():
        columns[name] = standardised(np.take_along_axis(scores, items, axis=1))
    columns["blend"] = np.mean([columns[name] for name in STRONG], axis=0)
    of_items, of_users = facts(known, data)
    columns |= {name: values[items] for name, values in of_items.items()}
    columns |= {name: np.repeat(values[:, np.newaxis], items.shape[1], axis=1) for name, values in of_users.items()}
    age = (of_users["until"][:, np.newaxis] - of_items["since"][items]).clip(-300, 300)
    columns["age"] = age
    for name in ("until", "since"):
        del columns[name]
    return Table(items, {name: values.ravel().astype(np.float32) for name, values in columns.items()})


def facts(known: Ratings, data: MovieLens) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return what is known of items and of users."""
    users, items = data.shape
    count = np.bincount(known.item, minlength=items)
    since = np.full(items, np.inf)
    np.minimum.at(since, known.item, known.timestamp / DAY)
    until = np.zeros(users)
    np.maximum.at(until, known.user, known.timestamp / DAY)
    of_items = {
        "share": count / count.sum(),
        "stars": np.bincount(known.item, known.rating, items) / np.maximum(1, count),
        "year": data.year,
        "since": since,
    }
    of_users = {"history": np.bincount(known.user, minlength=users) / len(known), "until": until}
    return of_items, of_users


def standardised(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores with mean 0 and deviation 1 in each row."""
    spread = scores.std(axis=1, keepdims=True)
    return (scores - scores.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)


def seen_by(ratings: Ratings, data: MovieLens) -> NDArray[np.bool_]:
    """Return [users, items] whether there is a rating."""
    seen = np.zeros(data.shape, dtype=bool)
    seen[ratings.user, ratings.item] = True
    return seen
