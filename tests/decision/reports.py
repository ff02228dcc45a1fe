"""What is a frozen report that promotes, and how is it altered?"""

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from recsys.decision.evidence import DIGEST_TAGS, report_digest
from recsys.ports import Weights
from recsys.specs.experiment import Experiment

Bounds = tuple[float, float]


def effect(role: str, metric: str, bounds: Bounds, arm: str = "treatment") -> dict[str, Any]:
    """Return an effect with these bounds on both scales."""
    interval = {"estimate": sum(bounds) / 2, "lower": bounds[0], "upper": bounds[1]}
    return {
        "treatment_arm": arm,
        "role": role,
        "effect": {"metric": metric, "relative": interval, "absolute": copy.copy(interval)},
    }


def frozen_report(
    name: str,
    experiment: Experiment,
    experiment_digest: str,
    weights: Weights,
    *,
    verdict: str = "SHIP",
    primary: Bounds = (0.02, 0.18),
    guardrails: Iterable[Bounds] = (),
) -> dict[str, Any]:
    """Return the report of an experiment whose treatment was answered by these weights, with its own digest.

    Args:
        name: the experiment's.
        experiment: its declaration.
        experiment_digest: of that.
        weights: of the treatment's logic.
        verdict: its name.
        primary: the primary metric's interval.
        guardrails: those of the guardrails, in their order; (-0.01, 0.05) for the others.
    """
    bounds = [*guardrails, *[(-0.01, 0.05)] * len(experiment.metrics.guardrails)]
    row = {"model_version": weights.model_version, "weights": weights.number}
    arms = [
        {"arm": "treatment", "model_version": weights.model_version, "weights": [{**row, "exposures": 10}]},
        {"arm": "control", "model_version": experiment.arms["control"].model_version, "weights": []},
    ]
    effects = [effect("primary", experiment.metrics.primary.name, primary)]
    effects += [
        effect("guardrail", guardrail.name, each)
        for guardrail, each in zip(experiment.metrics.guardrails, bounds, strict=False)
    ]
    document = {
        "experiment": name,
        "experiment_digest": experiment_digest,
        "frozen": "2018-01-01T00:00:00+00:00",
        "verdict": {
            "name": verdict,
            "reason": "planted by a test",
            "treatment_arm": "treatment",
            "model_version": weights.model_version,
        },
        "analysis": {"health": {"failures": []}, "arms": arms, "effects": effects},
        "registered": [{**row, **{field: weights.tags.get(tag) for field, tag in DIGEST_TAGS.items()}}],
    }
    return sealed(document)


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as it would be frozen, with the digest of what is in it."""
    content = json.loads(json.dumps({key: value for key, value in document.items() if key != "digest"}))
    return content | {"digest": report_digest(content)}
