"""What do the experiments of benchmarks/routing.py split, and how are they edited?"""

import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer

Declared = dict[str, Any]
"""An experiment as it would stand in its file."""

_LIMITS = np.array([0x80, 0x800, 0x10000 - 0x800, 0x110000 - 0x800])
_SLOTS = 10_000


def strange_ids(count: int, seed: int) -> list[str]:
    """Return strings of up to 23 code points: ASCII, up to U+07FF, of the first plane, or of all of Unicode."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 24, count)
    limits = np.repeat(rng.choice(_LIMITS, count), lengths)
    points = (rng.random(len(limits)) * limits).astype("<u4")
    points += np.where(points >= 0xD800, 0x800, 0).astype("<u4")  # noqa: PLR2004 - surrogates are no characters
    text = points.tobytes().decode("utf-32-le")
    ends = np.cumsum(lengths).tolist()
    return [text[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def usual_ids(count: int) -> dict[str, list[str]]:
    """Return three kinds of ids that shops have: numbers, names with a number, and UUIDs."""
    rng = np.random.default_rng(11)
    return {
        "10000042": [str(10_000_000 + number) for number in range(count)],
        "household_42": [f"household_{number}" for number in range(count)],
        "a UUID": [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(count)],
    }


def active(count: int) -> NDArray[np.bool_]:
    """Return who of so many households came in a month: the younger an account, the likelier, three in ten over all."""
    return np.random.default_rng(12).random(count) < np.linspace(0.05, 0.55, count)


def experiment(number: int = 0, placement: str = "home", **fields: Any) -> Experiment:  # noqa: ANN401 - any field
    """Return one of many experiments, each with a seed of its own."""
    return Experiment.model_validate(plain(number, placement) | fields)


def plain(number: int = 0, placement: str = "home") -> Declared:
    """Return the declaration of an experiment that has room to grow."""
    return {
        "hypothesis": "better",
        "placement": placement,
        "seed": f"experiment_{number}:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.35], "ratio": 0.05},
            "treatment": {"model_version": "basket/v2", "slot": [0.35, 0.7], "ratio": 0.05},
        },
        "overrides": {},
        "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
        "plan": {"units": 100, "start": "2026-01-05", "weeks": 26},
    }


def layered(number: int) -> tuple[Declared, Layer | None]:
    """Return an experiment to be edited; every other one is in a layer."""
    declared = plain(number)
    if number % 2:
        return declared, None
    layer = Layer(seed=f"layer_{number}:", holdout=(0.0, 0.1))
    return declared | {"layer": {"name": "page", "range": [0.1, 0.8]}}, layer


def allowed_edit(before: Declared, rng: np.random.Generator) -> Declared:
    """Return the declaration after one edit, of a random kind, that a running experiment may see."""
    after = before | {field: dict(before[field]) for field in ("arms", "overrides", "plan")}
    kinds = (_grow, _grow, _new_arm, _override, _earlier_end)
    kinds[rng.integers(len(kinds))](after, rng)
    return after


def _grow(declared: Declared, rng: np.random.Generator) -> None:
    name = rng.choice(list(declared["arms"]))
    arm = declared["arms"][name]
    first, last, taken = (round(_SLOTS * share) for share in (*arm["slot"], arm["ratio"]))
    declared["arms"][name] = arm | {"ratio": int(rng.integers(taken, last - first, endpoint=True)) / _SLOTS}


def _new_arm(declared: Declared, rng: np.random.Generator) -> None:
    free = np.ones(_SLOTS, dtype=bool)
    for arm in declared["arms"].values():
        first, last = (round(_SLOTS * share) for share in arm["slot"])
        free[first:last] = False
    starts = np.flatnonzero(free)
    if not len(starts):
        return
    first = int(rng.choice(starts))
    taken = np.flatnonzero(~free[first:])
    room = int(taken[0]) if len(taken) else _SLOTS - first
    width = int(rng.integers(1, room, endpoint=True))
    ratio = int(rng.integers(1, width, endpoint=True))
    slot = [first / _SLOTS, (first + width) / _SLOTS]
    name = f"arm_{len(declared['arms'])}"
    declared["arms"][name] = {"model_version": "basket/v3", "slot": slot, "ratio": ratio / _SLOTS}


def _override(declared: Declared, rng: np.random.Generator) -> None:
    tester = f"tester_{rng.integers(5)}"
    if declared["overrides"].pop(tester, None) is None:
        declared["overrides"][tester] = str(rng.choice(list(declared["arms"])))


def _earlier_end(declared: Declared, rng: np.random.Generator) -> None:
    declared["plan"]["weeks"] = int(rng.integers(1, declared["plan"]["weeks"], endpoint=True))
