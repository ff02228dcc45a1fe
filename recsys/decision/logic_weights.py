"""Which weights has a logic, and what speaks against their serving?"""

from collections.abc import Mapping
from typing import Final

from recsys.decision.champion import logic_alias
from recsys.decision.evidence import DIGEST_TAGS
from recsys.errors import DecisionError
from recsys.ports import NamedWeights, Weights

GATE_TAG: Final = "recsys.gate"
"""Tag of weights with the outcome of their offline gate: passed or failed."""
REASON_TAG: Final = "recsys.gate_reason"
"""Tag of weights with that outcome's figures, in a sentence."""


def split(model_version: str) -> tuple[str, str]:
    """Return registered model and version of a logic.

    Raises:
        DecisionError: if it is not written so.
    """
    model, _, version = model_version.partition("/")
    if not model or not version:
        message = f"model version {model_version}: it is <model>/<version>, such as basket/v2"
        raise DecisionError(message)
    return model, version


def to_serve(registry: NamedWeights, model_version: str) -> tuple[Weights, str | None]:
    """Return a logic's weights in service, or its newest where none are, and what speaks against them, or None.

    Raises:
        DecisionError: if it was never trained.
    """
    model, version = split(model_version)
    weights = registry.resolve(model, logic_alias(version))
    if weights is not None:
        return weights, against_gate(weights)
    last = newest(registry, model_version)
    return last, (
        f"model version {model_version}: no weights of it are in service (alias {logic_alias(version)} is not set);"
        f" the newest ({last.number}) have gate {last.tags.get(GATE_TAG, 'unknown')}"
        f" ({last.tags.get(REASON_TAG, 'no reason recorded')}): train it again, or override with a reason"
    )


def newest(registry: NamedWeights, model_version: str) -> Weights:
    """Return a logic's newest weights, in service or not.

    Raises:
        DecisionError: if it was never trained.
    """
    model, version = split(model_version)
    known = [weights for weights in registry.search(model) if weights.version == version]
    if not known:
        message = (
            f"model version {model_version}: it was never trained; run `recsys train --model-version {model_version}`"
        )
        raise DecisionError(message)
    return known[-1]


def against_gate(weights: Weights) -> str | None:
    """Return why the offline gate keeps weights out, or None where they passed it."""
    gate = weights.tags.get(GATE_TAG)
    if gate == "passed":
        return None
    return (
        f"weights {weights.number} of {weights.model_version}: gate {gate or 'unknown'}: only weights"
        " that passed their gate are served; see their report, and train again or override with a reason"
    )


def digests(weights: Weights) -> Mapping[str, str | None]:
    """Return what identifies weights: digests of their logic and of the data that they learned from."""
    return {name: weights.tags.get(tag) for name, tag in DIGEST_TAGS.items()}
