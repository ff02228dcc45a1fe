"""A metric says what it counts, or is refused with what it could have said."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recsys.specs.online_metric import OnlineMetric, built_in
from tests.specs.registry_files import EXPERIMENT, catalog, change, files, findings

CTR: dict[str, Any] = {
    "description": "Share of the items shown that were clicked",
    "numerator": {"event": "click", "count": "items"},
    "denominator": "impressions",
}


def test_built_in_names() -> None:
    assert built_in("precision@10") == ("precision", 10)
    assert built_in("order_rate") == ("order_rate", None)
    assert [name for name in ("ndcg@10", "order_rate@3", "precision@0", "ctr") if built_in(name)] == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numerator": "units"}, "units are what is divided by"),
        ({"numerator": "requests", "denominator": "units", "slots": 3}, "slots 3 cut nothing"),
        ({"numerator": {"event": "Click'"}}, "pattern"),
        ({"numerator": {"event": "click", "within": "0s"}}, "longer than 0"),
        ({"numerator": {"event": "click", "of": "seen"}}, "'shown' or 'any'"),
        ({"winsorise": 1.0}, "less than 1"),
        ({"attribution": "first"}, "'every' or 'last'"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OnlineMetric.model_validate(CTR | fields)


def test_an_experiment_names_metrics_that_exist(tmp_path: Path) -> None:
    declared = files() | {"metrics/ctr.yaml": CTR}
    change(declared, EXPERIMENT, "metrics.secondary", ["ctr", "recall@5"])
    assert catalog(tmp_path / "known", declared).metrics["ctr"].denominator == "impressions"
    change(declared, EXPERIMENT, "metrics.secondary", ["ctr", "cvr"])
    (finding,) = findings(tmp_path / "unknown", declared)
    assert finding.startswith("registry/experiments/home_ranker.yaml: metrics.secondary.1: cvr: not declared")
    assert "declared: ctr; built in: precision@k" in finding


def test_a_built_in_name_is_taken(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, files() | {"metrics/order_rate.yaml": CTR})
    assert finding.startswith("registry/metrics/order_rate.yaml: name: built-in metrics have it: precision@k")
