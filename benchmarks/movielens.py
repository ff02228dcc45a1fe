"""What do our metrics, item-item models and two-stage ranker reach on MovieLens-100k?

    make oracles
    .venv/bin/python benchmarks/movielens.py [--seeds 3] [--threads 2] [--inner 0]

Protocol: Microsoft Recommenders' benchmark (examples/06_benchmarks/movielens.ipynb). Of each film's ratings a random
quarter is the test (its own split, seed 42); every other film is a candidate; a rating of any height is relevant. MAP,
nDCG (binary), precision and recall at 10 are means over users with a test rating; AP divides by all relevant films.
First its SAR is made again, and its four printed figures have to come out to 1e-4: they judge split and metrics.

The two stages: EASE^R finds the candidates, CatBoost orders them (`movielens_ranker`). What is in it was chosen on
inner splits of the training ratings, made like the outer one: `--inner N` prints the same table for the Nth of them
(figures are lower there: what the outer test holds stands among the candidates and counts as not taken). Each seed
deals folds and groups anew and fits all of the second stage; "two-stage" is the mean over seeds of each user's figure,
"seeds averaged" ranks by the mean of the seeds' scores.

Intervals are 95 %, by resampling users; ratios are paired.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from movielens_data import FOLDER, MovieLens, Ratings, read, train_rows
from movielens_ranker import Design, seen_by, two_stage
from movielens_sources import SOURCES, Scores
from numpy.typing import NDArray

from recsys.modeling.metrics import list_metrics, top_k
from recsys.statistics.bootstrap import Interval, mean_interval, ratio_interval

K = 10
SPLIT = 42
FIRST_INNER_SPLIT = 100
PRINTED = {"map": 0.114038, "ndcg": 0.393819, "precision": 0.340615, "recall": 0.185377}
"""SAR's figures in the notebook."""
CLOSE = 1e-4
BAR = 0.469
"""nDCG@10 of BiVAE, the notebook's best."""

Figures = dict[str, NDArray[np.float64]]
"""Metric to its value for each user with a test rating."""


def main() -> int:
    """Print the table; fail where SAR is not SAR or the ranker does not clear its bars."""
    arguments = parsed()
    if not FOLDER.exists():
        sys.exit(f"{FOLDER.relative_to(FOLDER.parents[3])} is missing: run `make oracles`")
    began = time.perf_counter()
    data = read()
    known, test = parted(data.ratings, SPLIT)
    if arguments.inner is not None:
        known, test = parted(known, FIRST_INNER_SPLIT + arguments.inner)
    print(f"{len(known)} ratings to learn from, {len(test)} to find; {K} slots\n")
    scored = {name: source(known, data) for name, source in SOURCES.items()}
    table = {name: judged(scores, known, test, data) for name, scores in scored.items()}
    print(f"{'':18}{'nDCG@10':>22}{'MAP':>9}{'P@10':>9}{'R@10':>9}{'nDCG@10 / EASE^R':>26}")
    for name, figures in table.items():
        show(name, figures, table["ease"])
    failed = [
        f"SAR's {name}: {table['sar'][name].mean():.6f}, printed {value}"
        for name, value in PRINTED.items()
        if abs(table["sar"][name].mean() - value) > CLOSE
    ]
    failed += ranked(known, test, data, scored, table["ease"], arguments)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if arguments.inner is not None:
        return 0
    for line in failed:
        print(f"failed: {line}")
    return 1 if failed else 0


def parsed() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inner", type=int, help="an inner split of the training ratings instead of the test")
    return parser.parse_args()


def parted(ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    """Return what is known and what is to be found."""
    train = train_rows(ratings, seed)
    return ratings.take(train), ratings.take(~train)


def ranked(
    known: Ratings,
    test: Ratings,
    data: MovieLens,
    scored: dict[str, Scores],
    ease: Figures,
    arguments: argparse.Namespace,
) -> Sequence[str]:
    """Print the second stage's lines and return what it missed."""
    design = Design(threads=arguments.threads)
    seeds = [two_stage(known, data, design, seed, scored) for seed in range(arguments.seeds)]
    by_seed = [judged(scores, known, test, data) for scores in seeds]
    print()
    for seed, figures in enumerate(by_seed):
        show(f"two-stage, seed {seed}", figures, ease)
    mean = {name: np.mean([figures[name] for figures in by_seed], axis=0) for name in ease}
    ratio = show("two-stage", mean, ease)
    show("seeds averaged", judged(np.mean(seeds, axis=0), known, test, data), ease)
    missed = []
    if mean["ndcg"].mean() < BAR:
        missed.append(f"two-stage nDCG@10 {mean['ndcg'].mean():.4f}: below {BAR}")
    if ratio.lower <= 1:
        missed.append(f"two-stage / EASE^R: lower bound {ratio.lower:.3f}: not above 1")
    return missed


def judged(scores: Scores, known: Ratings, test: Ratings, data: MovieLens) -> Figures:
    """Return the metrics of each user with a test rating; films of the training ratings of a user are left out."""
    wanted = seen_by(test, data)
    users = wanted.any(axis=1)
    unseen = ~seen_by(known, data)[users]
    # A film that nobody rated in training is no candidate, as in the notebook.
    unseen &= np.bincount(known.item, minlength=data.shape[1]) > 0
    request, item = np.nonzero(unseen)
    ranked_ = top_k(
        scores[users][unseen].astype(np.float64),
        wanted[users][unseen].astype(np.float32),
        request.astype(np.int64),
        item.astype(np.int64),
        int(users.sum()),
        K,
    )
    return list_metrics(ranked_.hits, wanted[users].sum(axis=1))


def show(name: str, figures: Figures, ease: Figures) -> Interval:
    """Print a line of the table and return the ratio to EASE^R."""
    one_a_user = np.ones(len(ease["ndcg"]))
    ndcg = mean_interval(figures["ndcg"], one_a_user)
    ratio = ratio_interval(figures["ndcg"], ease["ndcg"], one_a_user)
    others = "".join(f"{figures[metric].mean():9.4f}" for metric in ("map", "precision", "recall"))
    print(
        f"{name:18}{ndcg.estimate:8.4f} [{ndcg.lower:.3f}, {ndcg.upper:.3f}]{others}"
        f"{ratio.estimate:12.4f} [{ratio.lower:.3f}, {ratio.upper:.3f}]",
        flush=True,
    )
    return ratio


if __name__ == "__main__":
    sys.exit(main())
