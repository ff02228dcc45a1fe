"""Are units of a layer read by the layer that they were routed by, after it has changed?"""

from datetime import timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from recsys import printing, schema
from recsys.experiment.bucketing import bucket
from recsys.experiment.routing import Router
from recsys.ports import ShownItem
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.experiments.test_evaluate import DAY, WEEK, EvaluatedProject, exposure_of, purchase
from tests.workflows.small_project import START

LAYER: Final = "layers/page.yaml"
UNITS: Final = [f"unit_{number}" for number in range(400)]
END: Final = START + 4 * WEEK


@pytest.fixture
def project(tmp_path: Path) -> EvaluatedProject:
    """Return a project whose experiment has half of a layer with a holdout, was applied in time, and has ended."""
    made = EvaluatedProject(tmp_path)
    made.shop()
    made.files[LAYER] = {"seed": "page:", "holdout": [0.0, 0.2]}
    made.change(EXPERIMENT, "layer", {"name": "page", "range": [0.2, 0.7]})
    made.change(EXPERIMENT, "metrics.primary.name", "precision@3")
    made.change(EXPERIMENT, "plan.units", 40)
    made.come_to(START - DAY)
    made.apply()
    catalog = made.open().catalog
    experiment = catalog.experiment("home_ranker")
    router = Router("home_ranker", experiment, catalog.layer_of(experiment))
    rows = []
    for number, unit in enumerate(UNITS):
        found, at = router.route(unit), START + number * timedelta(minutes=10)
        arm, version = (found.arm, found.model_version) if found else (None, "basket/v1")
        items = [ShownItem(f"{unit}:{slot}", slot, 1.0) for slot in (1, 2, 3)]
        made.log.write_exposures([exposure_of(unit, unit, arm, version, at, items)])
        rows += [purchase(unit, item.item_id, at + DAY) for item in items[: number % 3]]
    made.log.write_outcomes(pa.Table.from_pylist(rows, schema.EVENTS))
    made.come_to(END + DAY)
    return made


@pytest.mark.parametrize(
    ("field", "value"), [("holdout", None), ("holdout", [0.7, 1.0]), ("holdout", [0.0, 0.1]), ("seed", "another:")]
)
def test_units_that_were_held_out_are_found_after_the_holdout_has_changed(
    project: EvaluatedProject, field: str, value: object
) -> None:
    held = sum(bucket("page:", unit) < 2_000 for unit in UNITS)
    others = sum(bucket("page:", unit) >= 7_000 for unit in UNITS)
    project.change(LAYER, field, value)
    project.apply()
    done = project.evaluate(until=END)
    health = done.document["analysis"]["health"]
    assert health["default_units"] == {"holdout": held, "other": others}
    assert (health["mismatched_units"], health["failures"]) == (0, []), "arms are recomputed by the layer of that time"
    assert sum(health["units"].values()) == len(UNITS) - held - others
    assert f"default traffic: {held} units in the layer's holdout, {others} others" in printing.evaluation(done, "page")
    assert f"units held out, others</dt><dd>{held}, {others}</dd>" in done.report.page.read_text(encoding="utf-8")


def test_a_layer_without_a_holdout_says_nothing_of_one(project: EvaluatedProject) -> None:
    project.ledger_kept = type(project.ledger_kept)()  # nothing was ever applied: today's declaration is all there is
    project.change(LAYER, "holdout", None)
    done = project.evaluate(until=END)
    assert done.document["analysis"]["health"]["default_units"] == {}
    assert "holdout" not in printing.evaluation(done, "page")
