"""Which edits are another logic, and which are mere words?"""

from pathlib import Path

import pytest

from recsys.errors import SpecError
from recsys.specs.catalog import digest
from tests.specs.registry_files import (
    ENVIRONMENT,
    EXPERIMENT,
    MODEL,
    PLACEMENT,
    PROBLEM,
    SECOND_MODEL,
    Files,
    catalog,
    change,
    files,
)

MODEL_TEXT = """
# How the household's rhythm is learned.
gate: {against: popularity, metric: ndcg@10/user}
baselines:
    popularity: "item_weekly:item_baskets_28d"    # what everybody takes
algorithm:
    loss: 'Logloss'
    type: catboost
    iterations: 300   # the default, spelled out
feature_service: basket_full
placement: home
problem: weekly_basket
training: {every: 1w}
"""


def logic(project: Path, declared: Files, features: str = "f1") -> str:
    """Return the digest of basket/v2."""
    return catalog(project, declared).logic_digest("basket/v2", features)


def test_the_same_declaration_has_the_same_digest(tmp_path: Path) -> None:
    assert logic(tmp_path / "one", files()) == logic(tmp_path / "two", files())
    assert len(logic(tmp_path, files())) == 16


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (SECOND_MODEL, "algorithm.iterations", 301),
        (SECOND_MODEL, "algorithm.categorical", ["item_department"]),
        (SECOND_MODEL, "algorithm.seed", 1),
        (SECOND_MODEL, "feature_service", "basket_flat"),
        (SECOND_MODEL, "training", {"every": "14d"}),
        (SECOND_MODEL, "testing", {"decision_times": 4}),
        (SECOND_MODEL, "negatives", {"per_request": 41}),
        (SECOND_MODEL, "baselines.decay", "rhythm:pair_decay_90d"),
        (SECOND_MODEL, "gate.minimum_ratio", 1.01),
        (PLACEMENT, "pool.minimum", 2),
        (PLACEMENT, "pool.view", "item_daily"),
        (PLACEMENT, "candidates.0.limit", 151),
        (PLACEMENT, "candidates.0.order_by", ["pair_baskets"]),
        (PLACEMENT, "candidates.1.order_by", "item_baskets_7d"),
        (PROBLEM, "target.horizon", "8d"),
        (PROBLEM, "target.settle_delay", "1d"),
        (PROBLEM, "target.event", "redeemed"),
    ],
)
def test_each_part_of_the_closure_counts(tmp_path: Path, path: str, field: str, value: object) -> None:
    edited = logic(tmp_path / "edited", change(files(), path, field, value))
    assert edited != logic(tmp_path / "plain", files())


def test_the_order_of_candidate_sources_counts(tmp_path: Path) -> None:
    declared = files()
    declared[PLACEMENT]["candidates"].reverse()
    assert logic(tmp_path / "edited", declared) != logic(tmp_path / "plain", files())


def test_the_features_count(tmp_path: Path) -> None:
    assert logic(tmp_path / "one", files(), "f1") != logic(tmp_path / "two", files(), "f2")


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (PROBLEM, "business_issue", "reworded"),
        (PROBLEM, "owners.product", "another team"),
        (PLACEMENT, "k", 20),
        (PLACEMENT, "fallback", "empty"),
        (PLACEMENT, "candidates.0.limit", 150),
        (MODEL, "feature_service", "another"),
        (EXPERIMENT, "hypothesis", "reworded"),
        (ENVIRONMENT, "state", "elsewhere"),
    ],
)
def test_what_is_no_logic_does_not_count(tmp_path: Path, path: str, field: str, value: object) -> None:
    edited = logic(tmp_path / "edited", change(files(), path, field, value))
    assert edited == logic(tmp_path / "plain", files())


def test_comments_order_formatting_and_spelled_out_defaults_do_not_count(tmp_path: Path) -> None:
    worded = logic(tmp_path / "worded", files() | {SECOND_MODEL: MODEL_TEXT})
    assert worded == logic(tmp_path / "plain", files())


def test_the_digest_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="basket/v9"):
        catalog(tmp_path, files()).logic_digest("basket/v9", "f1")


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, {"c": "ż", "d": 2}]}) == digest({"b": [1, {"d": 2, "c": "ż"}], "a": 1})
    assert digest([1, 2]) != digest([2, 1])
