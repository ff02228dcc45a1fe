"""What is a small registry that holds together, and how is one thing in it changed?"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from recsys.errors import SpecError
from recsys.specs.catalog import Catalog, load

PROBLEM: Final = "problems/weekly_basket.yaml"
OTHER_PROBLEM: Final = "problems/other.yaml"
PLACEMENT: Final = "placements/home.yaml"
MODEL: Final = "models/basket/v1.yaml"
SECOND_MODEL: Final = "models/basket/v2.yaml"
OTHER_MODEL: Final = "models/other/v1.yaml"
EXPERIMENT: Final = "experiments/home_ranker.yaml"
ENVIRONMENT: Final = "environments/local.yaml"

Files = dict[str, Any]
"""Path below registry/ to what it declares; a text is written as it is."""

_VERSION: Final[Mapping[str, Any]] = {
    "problem": "weekly_basket",
    "placement": "home",
    "feature_service": "basket_full",
    "algorithm": {"type": "catboost", "loss": "Logloss"},
    "baselines": {"popularity": "item_weekly:item_baskets_28d"},
    "gate": {"metric": "ndcg@10/user", "against": "popularity"},
}

_FILES: Final[Files] = {
    PROBLEM: {
        "business_issue": "Households find too few of their usual products",
        "owners": {"product": "growth", "engineering": "ml"},
        "target": {"event": "purchase", "horizon": "7d"},
        "formulation": "ranking",
        "channels": {"feed": {"k": 10}},
    },
    PLACEMENT: {
        "problem": "weekly_basket",
        "model": "basket",
        "k": 10,
        "pool": {"view": "item_weekly", "feature": "item_baskets_91d"},
        "candidates": [
            {"source": "personal", "view": "user_item", "order_by": ["pair_weeks"], "limit": 150},
            {"source": "popular", "order_by": "item_baskets_28d", "limit": 100},
        ],
    },
    MODEL: {**_VERSION, "algorithm": {"type": "feature", "feature": "pair_baskets"}},
    SECOND_MODEL: _VERSION,
    EXPERIMENT: {
        "hypothesis": "rhythm beats frequency",
        "placement": "home",
        "seed": "home_ranker:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
        },
        "overrides": {"household_1": "treatment"},
        "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
        "plan": {"units": 2400, "start": "2017-12-04", "weeks": 4},
    },
    ENVIRONMENT: {"data": {"source": "completejourney"}},
}


def files() -> Files:
    """Return a registry without a fault, free to be changed."""
    return {path: copy.deepcopy(content) for path, content in _FILES.items()}  # one by one: nothing is shared


def with_other_problem() -> Files:
    """Return a registry with a second problem, answered by a model that no placement serves."""
    declared = files()
    declared[OTHER_PROBLEM] = copy.deepcopy(declared[PROBLEM])
    declared[OTHER_MODEL] = {**copy.deepcopy(declared[MODEL]), "problem": "other"}
    return declared


def change(declared: Files, path: str, field: str, value: object) -> Files:
    """Set a dotted field of one file; list items are numbers."""
    *parents, last = field.split(".")
    at = declared[path]
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return declared


def remove(declared: Files, path: str, field: str) -> Files:
    """Take a top-level field out of one file."""
    del declared[path][field]
    return declared


def write(project: Path, declared: Files) -> Path:
    """Write the files under `project`/registry and return that folder."""
    registry = project / "registry"
    for name, content in declared.items():
        path = registry / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            path.write_text(text, encoding="utf-8")
    return registry


def catalog(project: Path, declared: Files) -> Catalog:
    """Write and load the files."""
    return load(write(project, declared))


def findings(project: Path, declared: Files) -> Sequence[str]:
    """Write the files, and return what loading finds wrong with them."""
    registry = write(project, declared)
    with pytest.raises(SpecError) as caught:
        load(registry)
    return caught.value.problems
