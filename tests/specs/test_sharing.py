"""Do experiments that would meet fail to load, and those that do not meet load?"""

import copy
from pathlib import Path
from typing import Any, Final

import pytest

from tests.specs.registry_files import EXPERIMENT, PLACEMENT, Files, catalog, change, files, findings

LAYER: Final = "layers/page.yaml"
SECOND: Final = "experiments/second.yaml"


def layered(*ranges: list[float], holdout: list[float] | None = None, weeks_later: int = 0) -> Files:
    """Return a registry whose experiments share a layer, the second beginning some weeks later."""
    declared = files()
    declared[LAYER] = {"seed": "page:", "holdout": holdout}
    if len(ranges) > 1:
        declared[SECOND] = copy.deepcopy(declared[EXPERIMENT]) | {"seed": "second:"}
        change(declared, SECOND, "plan.start", f"2017-12-{4 + 7 * weeks_later:02}")
    for path, share in zip((EXPERIMENT, SECOND), ranges, strict=False):
        declared[path]["layer"] = {"name": "page", "range": share}
    return declared


def test_disjoint_ranges_share_a_layer(tmp_path: Path) -> None:
    found = catalog(tmp_path, layered([0.1, 0.5], [0.5, 1.0], holdout=[0.0, 0.1]))
    experiment = found.experiment("home_ranker")
    assert experiment.layer is not None
    assert experiment.layer.bucket_range() == (1_000, 5_000)
    layer = found.layer_of(experiment)
    assert layer is found.layers["page"]
    assert layer.holdout_range() == (0, 1_000)


def test_ranges_that_overlap_are_refused_while_both_run(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, layered([0.0, 0.5], [0.4999, 1.0]))
    assert finding == (
        "registry/experiments/second.yaml: layer.range: [0.4999, 1.0): overlaps [0.0, 0.5) of home_ranker, and both run"
        " from 2017-12-04 00:00 to 2018-01-01 00:00: ranges of one layer are disjoint at any time"
    )


def test_a_range_is_free_again_once_its_experiment_has_ended(tmp_path: Path) -> None:
    declared = layered([0.0, 0.5], [0.0, 1.0], weeks_later=2)
    (finding,) = findings(tmp_path / "meeting", declared)
    assert "from 2017-12-18 00:00 to 2018-01-01 00:00" in finding
    change(declared, EXPERIMENT, "plan.end", "2017-12-18")
    assert catalog(tmp_path / "after", declared).experiments.keys() == {"home_ranker", "second"}


def test_a_holdout_is_in_no_experiment_at_any_time(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, layered([0.0, 0.5], holdout=[0.4, 0.6]))
    assert "layer.range: [0.0, 0.5): overlaps the holdout [0.4, 0.6) of layer page" in finding


def test_an_experiment_has_the_unit_of_its_layer(tmp_path: Path) -> None:
    declared = change(layered([0.0, 0.5]), EXPERIMENT, "unit", "session_id")
    (finding,) = findings(tmp_path, declared)
    assert "unit: session_id: layer page assigns user_id" in finding


def test_a_layer_has_to_be_declared(tmp_path: Path) -> None:
    declared = layered([0.0, 0.5])
    del declared[LAYER]
    (finding,) = findings(tmp_path, declared)
    assert "layer.name: page: not declared under registry/layers/; declared: none" in finding


@pytest.mark.parametrize("layer", [None, "other"])
def test_one_placement_is_split_within_one_layer(tmp_path: Path, layer: str | None) -> None:
    declared = layered([0.0, 0.5], [0.5, 1.0])
    declared["layers/other.yaml"] = {"seed": "other:"}
    declared[SECOND]["layer"] = None if layer is None else {"name": layer, "range": [0.5, 1.0]}
    (finding,) = findings(tmp_path, declared)
    assert (
        f"second.yaml: layer: {'no layer' if layer is None else 'layer other'}: home_ranker, in layer page," in finding
    )
    assert "a list has one answer" in finding


def test_experiments_on_two_placements_need_no_layer(tmp_path: Path) -> None:
    declared = layered([0.0, 0.5], [0.5, 1.0])
    declared["placements/cart.yaml"] = copy.deepcopy(declared[PLACEMENT])
    declared[SECOND] |= {"placement": "cart", "layer": None}
    assert len(catalog(tmp_path, declared).experiments) == 2


@pytest.mark.parametrize("path", [SECOND, LAYER])
def test_a_seed_is_used_once(tmp_path: Path, path: str) -> None:
    declared = layered([0.0, 0.5], [0.5, 1.0], weeks_later=3)
    declared[path]["seed"] = "home_ranker:"
    (finding,) = findings(tmp_path, declared)
    assert "seed: 'home_ranker:'" in finding
    assert "under one seed both split the same units in the same way" in finding


@pytest.mark.parametrize(
    ("path", "field", "value", "words"),
    [
        (LAYER, "seed", "page", "has to end in a colon"),
        (LAYER, "holdout", [0.2, 0.1], "a holdout is [from, to)"),
        (LAYER, "holdout", [0.0, 0.00001], "finer than 1/10,000"),
        (EXPERIMENT, "layer.range", [0.5, 0.5], "a range is [from, to)"),
        (EXPERIMENT, "layer.range", [0.5, 1.1], "a range is [from, to)"),
        (EXPERIMENT, "plan.end", "2017-12-04", "has to lie after the start"),
        (EXPERIMENT, "plan.end", "2018-01-02", "not after its 4 weeks"),
    ],
)
def test_what_no_layer_range_or_end_can_be(tmp_path: Path, path: str, field: str, value: Any, words: str) -> None:
    (finding,) = findings(tmp_path, change(layered([0.0, 0.5]), path, field, value))
    assert words in finding
