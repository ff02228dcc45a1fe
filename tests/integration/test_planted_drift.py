"""Is a shop that goes on as before found so, and is a feature that moves after the training found and named?"""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError, SpecError
from recsys.schema import EVENT_TIMESTAMP
from recsys.wiring import open_workspace
from recsys.workflows.drift import Drifted, TooYoung, document, drift
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


def test_what_has_no_weights_no_training_set_or_no_label_is_refused(shop: Workspace, tmp_path: Path) -> None:
    young = drift(shop, "basket/v1")
    assert isinstance(young, TooYoung)
    assert str(young).endswith(
        "up to 2017-11-27 when it was trained; the label of the next one is mature at 2017-12-11"
    )
    assert document(young)["first_label_at"] == "2017-12-11T00:00:00+00:00"
    with pytest.raises(ModelError, match="model basketry: has no champion"):
        drift(shop, "basketry")
    with pytest.raises(SpecError, match="basket/v9"):
        drift(shop, "basket/v9")
    project = tmp_path / "project"
    shutil.copytree(shop.root, project)
    shutil.rmtree(project / ".recsys/datasets")
    with pytest.raises(ModelError, match=r"its training set \w+ is not kept"):
        drift(open_workspace("local", project), "basket")
