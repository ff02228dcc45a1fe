"""Write ranking_metrics.json: metrics by the ir-measures package (0.4.3, pytrec_eval), which tests compare ours with.

Run it with the project's Python after an update of the package: `python tests/golden/make_ranking_metrics.py`.

trec_eval lets ties fall to the larger id, ours fall to the smaller one. So each request's candidates are handed to it
by their rank in our order, and the scores with their ties are kept for ours alone.
"""

import json
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import AP, RR, P, Qrel, R, ScoredDoc, nDCG

K = 10
REQUESTS = 120
MEASURES = {"ndcg": nDCG @ K, "precision": P @ K, "recall": R @ K, "mrr": RR @ K, "map": AP @ K}


def request(generator: np.random.Generator, number: int) -> dict[str, Any]:
    """Draw one request: candidates' ids, scores with ties, who was taken, and what was taken beside them."""
    count = 0 if number % 20 == 0 else int(generator.integers(1, 40))
    items = sorted(f"i{item:03}" for item in generator.choice(1_000, count, replace=False))
    levels = int(generator.choice([1, 3, 10, 1_000]))
    scores = generator.integers(0, levels, count) / 8
    labels = generator.random(count) < generator.choice([0.0, 0.1, 0.5, 1.0])
    outside = int(generator.integers(0, 4)) + (0 if labels.any() else 1)
    return {
        "items": items,
        "scores": scores.tolist(),
        "labels": labels.astype(int).tolist(),
        "outside": outside,
    }


def judge(drawn: dict[str, Any]) -> dict[str, float]:
    """Return the package's metrics of one request."""
    ranked = sorted(zip(drawn["items"], drawn["scores"], strict=True), key=lambda pair: (-pair[1], pair[0]))
    run = [ScoredDoc("q", item, float(-place)) for place, (item, _) in enumerate(ranked)]
    relevant = [item for item, label in zip(drawn["items"], drawn["labels"], strict=True) if label]
    relevant += [f"outside-{number}" for number in range(drawn["outside"])]
    if not run:
        return dict.fromkeys(MEASURES, 0.0)  # a request without candidates: the package has no row for it
    measured = {
        str(metric.measure): metric.value
        for metric in ir_measures.iter_calc(MEASURES.values(), [Qrel("q", item, 1) for item in relevant], run)
    }
    return {name: measured[str(measure)] for name, measure in MEASURES.items()}


def main() -> None:
    """Write the requests and their metrics beside this script."""
    generator = np.random.default_rng(20171204)
    drawn = [request(generator, number) for number in range(REQUESTS)]
    cases = [each | {"expected": judge(each)} for each in drawn]
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    Path(__file__).with_name("ranking_metrics.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
