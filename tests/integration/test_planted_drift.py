"""Is a shop that goes on as before found so, and is a feature that moves after the training found and named?"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError, SpecError
from recsys.ports import Weights
from recsys.printing import drift as shown
from recsys.schema import EVENT_TIMESTAMP
from recsys.specs.monitor import Monitor
from recsys.wiring import open_workspace
from recsys.workflows.monitoring.drift import Drifted, TooYoung, document, drift
from recsys.workflows.monitoring.drift.weights import kept_dataset
from recsys.workflows.workspace import Workspace

TRAINED = datetime(2017, 12, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def found(replayed: Workspace) -> Drifted:
    """The challenger, four weeks after it was trained."""
    done = drift(replayed, "basket/v2")
    assert isinstance(done, Drifted)
    return done


def test_a_shop_that_goes_on_as_before_has_no_drift(found: Drifted) -> None:
    assert [f"{time:%m-%d}" for time in found.before] == ["11-13", "11-20", "11-27"][-len(found.before) :]
    assert [f"{time:%m-%d}" for time in found.now] == ["12-04", "12-11", "12-18", "12-25"]
    named = {each.column for each in found.columns}
    assert {"pair_baskets", "item_department", "score", "taken items", "candidate sources"} <= named
    assert [alert for alert in found.alerts if alert.check == "drift"] == []
    assert found.leaks == ()
    assert {name for entry in found.profiles["now"] for name in entry["views"]} >= {"user_item", "item_weekly"}
    assert len(found.report.segments["decision_time"]) == 4
    assert found.quality.then.holds(found.quality.then.estimate)
    assert json.loads(json.dumps(document(found)))["quality"]["standing"] in {"good", "bad", "unclear"}


def test_a_feature_that_moved_after_the_training_is_named(replayed: Workspace, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(replayed.root, project)
    workspace = open_workspace("local", project)
    for path in (workspace.feature_tables / "item_weekly").glob("*.parquet"):
        rows = pq.read_table(path)
        late = pc.greater_equal(rows[EVENT_TIMESTAMP], pa.scalar(TRAINED))
        for name, factor in (("item_price_91d", 10.0), ("item_gap_days_91d", None)):
            values = pc.if_else(late, pc.multiply(rows[name], factor) if factor else None, rows[name])
            rows = rows.set_column(rows.schema.get_field_index(name), name, values.cast(rows[name].type))
        pq.write_table(rows, path)
    command = [sys.executable, "-m", "recsys", "drift", "basket/v2", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    moved = {each["column"]: each for each in told["columns"] if (each["adjusted_p_value"] or 1) <= 0.01}
    assert moved["item_price_91d"]["psi"] > 1
    messages = [alert["message"] for alert in told["alerts"]]
    assert any(message.startswith("drift: item_price_91d: population stability index") for message in messages)
    assert moved["item_gap_days_91d"]["missing_now"] > 0.99
    assert any(message.startswith("drift: item_gap_days_91d: unknown in ") for message in messages)
    assert not any("pair_baskets" in message for message in messages)


def test_weights_whose_labels_are_still_to_come_say_when_they_will(shop: Workspace) -> None:
    young = drift(shop, "basket/v1")
    assert isinstance(young, TooYoung)
    assert str(young).endswith(
        "up to 2017-11-27 when it was trained; the label of the next one is mature at 2017-12-11"
    )
    assert document(young)["first_label_at"] == "2017-12-11T00:00:00+00:00"


NOT_KEPT = (
    r"its training set \w+ is not kept in \.recsys/datasets/; run `recsys dataset build --model-version basket/v1"
    r" --known-at 2017-12-04` .* if that gives another digest, train it anew"
)


def lose_everything(folder: Path) -> None:
    """The sets were deleted."""
    shutil.rmtree(folder)


def lose_a_table(folder: Path) -> None:
    """One table of a set was deleted."""
    (folder / "test.parquet").unlink()


def come_from_elsewhere(folder: Path) -> None:
    """A set was made from other events, on another machine."""
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "0123456789abcdef"}))


@pytest.mark.parametrize(
    ("model", "lost", "sentence"),
    [
        pytest.param("basketry", None, "model 'basketry': not declared; declared: basket, coupon", id="no model"),
        pytest.param("coupon", None, "model coupon: has no champion; promote one, or name a version", id="no champion"),
        pytest.param("basket/v3", None, "never trained; run `recsys train --model-version basket/v3`", id="no weights"),
        pytest.param("basket", lose_everything, NOT_KEPT, id="no training set"),
        pytest.param("basket", lose_a_table, NOT_KEPT, id="a part of a training set"),
        pytest.param("basket", come_from_elsewhere, NOT_KEPT, id="another training set"),
    ],
)
def test_what_cannot_be_compared_says_what_to_do(
    shop: Workspace, tmp_path: Path, model: str, lost: Callable[[Path], None] | None, sentence: str
) -> None:
    (folder,) = (shop.root / ".recsys/datasets/basket/v1").iterdir()
    kept = shutil.copytree(folder, tmp_path / "kept")
    try:
        if lost is not None:
            lost(folder)
        with pytest.raises((ModelError, SpecError), match=sentence):
            drift(shop, model)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)


def test_a_version_that_is_not_declared_is_named(shop: Workspace) -> None:
    with pytest.raises(SpecError, match="basket/v9"):
        drift(shop, "basket/v9")


def test_a_set_that_was_known_at_some_hour_is_asked_for_by_the_hour(shop: Workspace) -> None:
    weights = Weights("basket", 9, "v1", {"recsys.data_digest": "d", "recsys.known_at": "2024-01-08T02:30:11+00:00"})
    with pytest.raises(ModelError, match=r"--known-at 2024-01-08T02:30:11\+00:00`"):
        kept_dataset(shop, weights)


def test_decisions_whose_events_did_not_come_are_left_out_by_the_default_limits(
    replayed: Workspace, tmp_path: Path
) -> None:
    """The shop's year ends with 2017. Two weeks later half of its decisions have labels that say nothing."""
    project = tmp_path / "project"
    shutil.copytree(replayed.root, project)
    (project / "registry/monitors/basket.yaml").unlink()
    clock = project / ".recsys/clock.json"
    clock.write_text(json.dumps({"now": "2018-01-15T00:00:00+00:00"}))
    found = drift(open_workspace("local", project), "basket/v1")
    assert isinstance(found, Drifted)
    assert found.limits == Monitor()
    assert [f"{time:%m-%d}" for time in found.now] == ["12-18", "12-25"]
    assert [f"{time:%m-%d}" for time in found.left_out] == ["01-01", "01-08"]
    assert {each.name for each in found.report.segments["decision_time"]} == {"2017-12-18", "2017-12-25"}
    (alert,) = [alert for alert in found.alerts if alert.check == "events"]
    assert alert.message.endswith(
        "decisions from 2018-01-01 on are left out; run `recsys ingest`, or look why no more come"
    )
    assert "left out, for events ended before their labels were complete: 2018-01-01, 2018-01-08" in shown(found)
    clock.write_text(json.dumps({"now": "2018-03-05T00:00:00+00:00"}))
    with pytest.raises(
        ModelError, match=r"weights \d+\): events: no event is known since 2018-01-01 .* from 2018-02-05"
    ):
        drift(open_workspace("local", project), "basket/v1")
