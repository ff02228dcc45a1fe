"""How does a CatBoost ranker order what EASE^R finds, learning from training ratings only?

1. The known ratings are dealt into folds. For each fold the sources are fitted on the other folds, EASE^R's best unseen
   items of every user are the candidates, and the fold's ratings are the labels: no source has seen a label of its
   rows. The tables of all folds are learned from together.
2. Users are dealt into groups. A group is scored by a model that learned from the other groups' rows and stopped early
   by one of them. Without this the model meets its own questions in training: what is held out is unseen in every fold,
   so each pair that is to be found has stood there as a negative.
3. At the end the sources are fitted on all that is known.

Labels are noisy: what the test holds stands among the negatives. Small steps, few leaves and strong shrinkage matter
more here than anything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from movielens_data import MovieLens, Ratings, folds
from movielens_sources import STRONG, Scores, Source
from numpy.typing import NDArray

from recsys.adapters.catboost_ranker import CatBoostEstimator
from recsys.ports import TrainingRows
from recsys.specs.model import CatBoostAlgorithm

DAY = 86_400

CANDIDATES = 100
"""A user."""
FOLDS = 4
"""A quarter is held out of each, as for the test."""
GROUPS = 4
"""Of users; one is scored, one stops the fit, the others are learned from."""
NEGATIVES = 20
"""Of a user and fold, sampled from the candidates that are not among the labels."""


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


@dataclass(frozen=True)
class Requests:
    """Rows to learn from, of all users, ascending by user."""

    user: NDArray[np.int64]
    columns: dict[str, NDArray[np.float32]]
    label: NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """What a second stage learns from and what it is asked, whatever its algorithm."""

    folds: Sequence[Requests]
    question: Table
    group: NDArray[np.int64]
    """[users]."""


def prepare(
    known: Ratings, data: MovieLens, seed: int, sources: Mapping[str, Source], scored: dict[str, Scores]
) -> Prepared:
    """Make the tables.

    Args:
        known: all that may be learned from.
        data: the films and people.
        seed: of folds, groups and negatives.
        sources: what becomes columns.
        scored: each of them fitted on `known`.
    """
    fold = folds(known, FOLDS, seed)
    chance = np.random.default_rng(seed)
    requests = []
    for held in range(FOLDS):
        rest = known.take(fold != held)
        table = make_table(rest, data, {name: source(rest, data) for name, source in sources.items()})
        label = np.take_along_axis(seen_by(known.take(fold == held), data), table.items, axis=1)
        requests.append(sampled(table, label, chance))
    return Prepared(
        requests,
        make_table(known, data, {name: scored[name] for name in sources}),
        chance.permutation(data.shape[0]) % GROUPS,
    )


def two_stage(prepared: Prepared, data: MovieLens, algorithm: CatBoostAlgorithm, seed: int, threads: int) -> Scores:
    """Return the scores of the candidates, [users, items], -inf elsewhere."""
    question, group = prepared.question, prepared.group
    result = np.full(data.shape, -np.inf, dtype=np.float32)
    for asked in range(GROUPS):
        stop = (asked + 1) % GROUPS
        seeded = algorithm.model_copy(update={"seed": GROUPS * seed + asked})
        ranker = CatBoostEstimator(seeded, tuple(question.columns), threads=threads).fit(
            learned(prepared.folds, (group != asked) & (group != stop)), learned(prepared.folds, group == stop)
        )
        users = group == asked
        scores = ranker.score(question.rows(users)).reshape(-1, CANDIDATES)
        part = result[users]
        np.put_along_axis(part, question.items[users], scores.astype(np.float32), axis=1)
        result[users] = part
    return result


def sampled(table: Table, label: NDArray[np.bool_], chance: np.random.Generator) -> Requests:
    """Keep all of a user's labels and a sample of the other candidates."""
    place = np.argsort(np.argsort(np.where(label, 2.0, chance.random(label.shape)), axis=1), axis=1)
    kept = (label | (place < NEGATIVES)).ravel()
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


def make_table(known: Ratings, data: MovieLens, scored: dict[str, Scores]) -> Table:
    """Take EASE^R's best unseen items of every user and describe them.

    A source's column is its score, standardised among the user's candidates: scores grow with what is known, and there
    is more of it at the end than in a fold.
    """
    unseen = np.where(seen_by(known, data), -np.inf, scored["ease"])
    items = np.sort(np.argsort(-unseen, axis=1, kind="stable")[:, :CANDIDATES], axis=1)
    columns = {}
    for name, scores in scored.items():
        columns[name] = standardised(np.take_along_axis(scores, items, axis=1))
    columns["blend"] = np.mean([columns[name] for name in STRONG if name in scored], axis=0)
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
