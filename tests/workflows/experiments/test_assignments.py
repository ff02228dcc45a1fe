"""Are files of ids assigned whole and in order, and is a payload made of what runs?"""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import DataError, ExperimentError, SpecError
from recsys.experiment.bucketing import bucket
from recsys.experiment.routing import Router
from recsys.planning.lifecycle import FREEZE, Stage
from recsys.printing import assigned, assigned_document, experiment_status_document
from recsys.printing import experiment_status as told
from recsys.workflows import id_files
from recsys.workflows.experiments.assignments import Assigned, assign_file, export_growthbook
from recsys.workflows.experiments.status import experiment_status
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.small_project import START, SmallProject

UNITS = [*(f"h{number}" for number in range(1_000)), "żółć", "😀", "household_1"]


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    project = SmallProject(tmp_path)
    project.files["layers/page.yaml"] = {"seed": "page:", "holdout": [0.0, 0.2]}
    project.change(EXPERIMENT, "layer", {"name": "page", "range": [0.2, 0.8]})
    return project


def write(folder: Path, units: pa.Array, column: str = "user_id") -> Path:
    path = folder / "ids.parquet"
    pq.write_table(pa.table({"other": pa.nulls(len(units)), column: units}), path, row_group_size=300)
    return path


def test_every_id_gets_what_a_request_would(
    project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_files, "BATCH_ROWS", 64)
    workspace = project.open()
    told_of: list[int] = []
    source, target = write(tmp_path, pa.array(UNITS)), tmp_path / "new" / "arms.parquet"
    done = assign_file(workspace, "home_ranker", source, target, tell=lambda _, rows, __: told_of.append(rows))
    experiment = workspace.catalog.experiment("home_ranker")
    router = Router("home_ranker", experiment, workspace.catalog.layer_of(experiment))
    rows = pq.read_table(target).to_pylist()
    assert [row["user_id"] for row in rows] == UNITS
    for row in rows:
        made = router.route(row["user_id"])
        assert row["arm"] == (made.arm if made else None)
        assert row["model_version"] == (made.model_version if made else None)
        assert row["overridden"] == (made is not None and made.overridden)
        assert row["bucket"] == bucket("home_ranker:", row["user_id"])
        assert row["layer_bucket"] == bucket("page:", row["user_id"])
        assert row["holdout"] == (row["layer_bucket"] < 2_000)
    arms = [row["arm"] for row in rows]
    counts = {arm: arms.count(arm) for arm in ("control", "treatment")}
    assert done == Assigned("home_ranker", target, len(UNITS), counts, 1, sum(row["holdout"] for row in rows))
    assert done.default == arms.count(None)
    assert told_of == sorted(told_of)
    assert told_of[-1] == len(UNITS)
    assert len(told_of) >= len(UNITS) / 64
    assert assigned(done).splitlines()[0].startswith(f"  {len(UNITS):,} ids: {counts['control']} control,")
    assert assigned_document(done)["holdout"] == done.holdout
    assert pq.read_schema(target).metadata[b"recsys.experiment"] == b"home_ranker"


def test_without_a_layer_there_is_no_layer_bucket(project: SmallProject, tmp_path: Path) -> None:
    project.change(EXPERIMENT, "layer", None)
    source = write(tmp_path, pa.array(UNITS, pa.large_string()).dictionary_encode(), "id")
    done = assign_file(project.open(), "home_ranker", source, source, "id")
    table = pq.read_table(source)
    assert table["layer_bucket"].null_count == len(UNITS)
    assert table.column_names[0] == "id"
    assert (done.default, done.holdout) == (0, 0)


def test_no_ids_are_a_file_without_rows(project: SmallProject, tmp_path: Path) -> None:
    target = tmp_path / "arms.parquet"
    done = assign_file(project.open(), "home_ranker", write(tmp_path, pa.array([], pa.string())), target)
    assert (done.rows, done.default, len(pq.read_table(target))) == (0, 0, 0)


def test_what_cannot_be_assigned_is_one_clear_line_and_writes_nothing(
    project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_files, "BATCH_ROWS", 64)
    workspace = project.open()
    target = tmp_path / "arms.parquet"
    target.write_text("as it was")

    def refused(source: Path, kind: type[Exception], words: str, column: str | None = None) -> None:
        with pytest.raises(kind, match=words) as caught:
            assign_file(workspace, "home_ranker", source, target, column)
        assert "\n" not in str(caught.value)
        assert target.read_text() == "as it was"
        assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*.partial"))

    refused(write(tmp_path, pa.array([*UNITS, None])), DataError, f"column user_id: row {len(UNITS) + 1:,} is null")
    refused(write(tmp_path, pa.array([1, 2])), ExperimentError, "ids are text: cast them to string")
    refused(write(tmp_path, pa.array(UNITS)), DataError, "column id: not there; there are other, user_id", "id")
    refused(tmp_path / "none.parquet", DataError, "no such file")
    refused(target, DataError, "cannot be read as parquet")
    refused(tmp_path, DataError, "cannot be read as parquet")
    cut = tmp_path / "ids.parquet"
    whole = cut.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    cut.write_bytes(whole[:4] + b"\xff" * (len(whole) - footer - 4) + whole[-footer:])
    refused(cut, DataError, "column user_id: cannot be read")
    cut.write_bytes(whole[:-100] + whole[-8:])
    refused(cut, DataError, "cannot be read as parquet")
    with pytest.raises(SpecError, match="experiment 'other' is not declared"):
        assign_file(workspace, "other", cut, target)


def test_a_payload_holds_what_runs_or_what_is_named(project: SmallProject, tmp_path: Path) -> None:
    second = project.files[EXPERIMENT] | {"seed": "second:", "layer": {"name": "page", "range": [0.8, 1.0]}}
    project.files["experiments/second.yaml"] = second | {"plan": {**second["plan"], "start": "2017-12-11"}}
    workspace = project.open()

    def held(*names: str) -> tuple[str, ...]:
        done = export_growthbook(workspace, names)
        rules = done.document["features"]["home"]["rules"]
        assert tuple(rule["key"] for rule in rules if "key" in rule) == done.experiments
        assert sorted((*done.experiments, *done.left_out)) == ["home_ranker", "second"]
        return done.experiments

    assert held() == ()
    project.come_to(START)
    assert held() == ("home_ranker",)
    project.come_to(START + timedelta(weeks=1))
    assert held() == ("home_ranker", "second")
    assert held("second") == ("second",)
    output = tmp_path / "payload.json"
    assert export_growthbook(workspace, (), output).document == json.loads(output.read_text())
    with pytest.raises(SpecError, match="experiment 'third' is not declared"):
        export_growthbook(workspace, ["third"])


def test_status_follows_what_was_applied(project: SmallProject) -> None:
    (status,) = experiment_status(project.open())
    assert (status.stage, status.applied, len(status.epochs), status.history) == (Stage.DRAFT, None, 1, ())
    assert "not applied" in told([status])
    project.apply()
    project.come_to(START + timedelta(days=1))
    project.change(EXPERIMENT, "plan.end", "2017-12-06")
    (status,) = experiment_status(project.open(), "home_ranker")
    assert (status.stage, status.applied) == (Stage.RUNNING, False)
    assert status.experiment.plan.end is None
    assert "declared otherwise" in told([status])
    project.apply()
    project.come_to(START + timedelta(days=2))
    (status,) = experiment_status(project.open(), "home_ranker")
    assert (status.stage, status.applied, status.verdict) == (Stage.STOPPED, True, None)
    project.ledger_kept.append(
        transaction="t",
        state="done",
        action=FREEZE,
        subject="home_ranker",
        payload={"verdict": {"name": "REVIEW"}, "git_commit": "0123456789ab"},
        author="ada",
        at=START + timedelta(days=3),
    )
    (status,) = experiment_status(project.open())
    assert (status.stage, status.verdict) == (Stage.DECIDED, "REVIEW")
    lines = told([status]).splitlines()
    assert lines[3:5] == [
        "  ends before its planned end, 2018-01-01 00:00",
        "  epoch 1 from 2017-12-04 00:00: control 50 %, treatment 50 %",
    ]
    assert lines[-1] == "  2017-12-07 00:00 decided by ada at 0123456789ab"
    (document,) = experiment_status_document([status])
    assert (document["end"][:10], document["planned_end"][:10]) == ("2017-12-06", "2018-01-01")
    assert document["layer"] == {"name": "page", "range": [0.2, 0.8]}
    assert [event["what"] for event in document["history"]] == ["added", "changed", "decided"]
    del project.files[EXPERIMENT]
    (status,) = experiment_status(project.open())
    assert (status.stage, status.applied) == (Stage.DECIDED, False)
    with pytest.raises(SpecError, match="experiment 'other' is not declared"):
        experiment_status(project.open(), "other")
    assert told([]) == "  no experiment is declared"
