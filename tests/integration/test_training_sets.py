"""Is a training set what was known then, the same however late it is built, and refused where it leaks?"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.candidates.pool import to_numpy
from recsys.errors import LeakageError, ModelError
from recsys.modeling.leakage import Sources, check_rows
from recsys.modeling.requests import Requests
from recsys.ports import FeatureSet
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP, EVENT_TYPE, EVENTS, PURCHASE, QUANTITY, VALUE
from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.features.build import build_tables
from recsys.workflows.modeling import training_data
from recsys.workflows.modeling.dataset import build_dataset, check_dataset
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit

THEN = datetime(2017, 11, 27, tzinfo=UTC)
NOW = datetime(2017, 12, 4, tzinfo=UTC)
LAST_TEST = datetime(2017, 11, 20, tzinfo=UTC)
"""The newest decision time whose labels are mature at THEN."""


def copied(shop: Workspace, target: Path) -> Workspace:
    """Copy a project without its models, with fewer weeks to learn from; feature definitions stay registered."""
    for name in ("registry", "feature_repo"):
        shutil.copytree(shop.root / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tables", "features"):
        shutil.copytree(shop.state / name, target / ".recsys" / name)
    shutil.copy(shop.state / "registry.db", target / ".recsys/registry.db")
    edit(
        target / "registry/models/basket/v2.yaml",
        lambda model: model.update(training={"decision_times": 4}, testing={"decision_times": 2}),
    )
    return open_workspace("local", target)


@pytest.fixture
def project(shop: Workspace, tmp_path: Path) -> Workspace:
    """The shop's data and features in a project of the test's own."""
    return copied(shop, tmp_path / "project")


@pytest.fixture(scope="module")
def restated(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The shop's tables as a source of files, to which the tests append what becomes known later."""
    workspace = copied(shop, tmp_path_factory.mktemp("restated") / "project")
    source = workspace.root / "delivered"
    source.mkdir()
    for name in ("items", "users"):
        shutil.copy(workspace.tables / f"{name}.parquet", source)
    pq.write_table(pq.read_table(workspace.events).select(EVENTS.names).cast(EVENTS), source / "events.parquet")
    edit(
        workspace.root / "registry/environments/local.yaml",
        lambda spec: spec.update(data={"source": "files", "path": "delivered"}),
    )
    workspace = open_workspace("local", workspace.root)
    ingest(workspace)
    build_tables(workspace)
    return workspace


def learned(workspace: Workspace, known_at: datetime) -> tuple[str, pa.Table]:
    """Build basket/v2's set anew; returns its digest and its learning rows."""
    shutil.rmtree(workspace.datasets, ignore_errors=True)
    built = build_dataset(workspace, "basket/v2", known_at)
    assert not built.reused
    return built.dataset.digest, built.dataset.rows("learn")


def test_a_set_has_the_digest_it_had_before_a_restatement(restated: Workspace) -> None:
    before, rows = learned(restated, THEN)
    source = restated.root / "delivered/events.parquet"
    events = pq.read_table(source)
    october = events.filter(
        pc.and_(
            pc.equal(events[EVENT_TYPE], PURCHASE),
            pc.and_(
                pc.greater(events[EVENT_TIMESTAMP], pa.scalar(datetime(2017, 10, 2, tzinfo=UTC))),
                pc.less(events[EVENT_TIMESTAMP], pa.scalar(datetime(2017, 10, 30, tzinfo=UTC))),
            ),
        )
    )
    assert len(october) > 500
    newest = len(october) - 500
    cancelled = [row | {QUANTITY: 0.0, VALUE: 0.0} for row in october.slice(newest + 200).to_pylist()]
    late = [row | {EVENT_ID: f"late-{row[EVENT_ID]}", QUANTITY: 2.0} for row in october.slice(newest, 200).to_pylist()]
    known_later = [row | {CREATED_TIMESTAMP: THEN + timedelta(days=2)} for row in (*cancelled, *late)]
    pq.write_table(pa.concat_tables([events, pa.Table.from_pylist(known_later, events.schema)]), source)

    assert not ingest(restated).reused
    grown = {table.name: table.added for table in build_tables(restated)}
    assert all(added for name, added in grown.items() if not name.startswith("session_")), grown  # no visits here
    again, same_rows = learned(restated, THEN)
    assert again == before
    assert same_rows.equals(rows)

    known_now, new_rows = learned(restated, NOW)
    assert known_now != before
    week = pa.scalar(datetime(2017, 10, 23, tzinfo=UTC))
    taken = [pc.sum(made.filter(pc.equal(made[EVENT_TIMESTAMP], week))["label"]).as_py() for made in (rows, new_rows)]
    assert taken[0] > taken[1] > 0, "what was cancelled is a label no more"
    assert not check_dataset(restated, "basket/v2", NOW).violations


def test_what_a_set_is_of_stands_beside_its_rows(project: Workspace) -> None:
    built = build_dataset(project, "basket/v2", THEN)
    document = json.loads((built.dataset.folder / "dataset.json").read_text())
    learn, test = built.dataset.rows("learn"), built.dataset.rows("test")
    (split,) = built.dataset.splits
    latest = pa.scalar(split.validation[0])
    assert document["rows"] == {
        "train": pc.sum(pc.less(learn[EVENT_TIMESTAMP], latest)).as_py(),
        "validation": pc.sum(pc.equal(learn[EVENT_TIMESTAMP], latest)).as_py(),
        "test": len(test),
    }
    assert [entry["rows"] for entry in document["profile"]["test"]] == [
        row["counts"] for row in pc.value_counts(test[EVENT_TIMESTAMP]).to_pylist()
    ]
    assert sum(entry["positives"] for entry in document["profile"]["learn"]) == pc.sum(learn["label"]).as_py()
    for entry in document["profile"]["test"]:
        assert entry["views"]["user_weekly"]["oldest_days"] <= 7
        assert 0 < entry["views"]["user_item"]["missing"] < 1
        assert set(entry["missing"]) > {"pair_baskets", "pair_overdue", "item_department"}
    assert document["splits"][-1]["test"][-1] == LAST_TEST.isoformat()
    assert build_dataset(project, "basket/v2", THEN).reused


def test_what_was_taken_stands_beside_the_requests(project: Workspace) -> None:
    dataset = build_dataset(project, "basket/v2", THEN).dataset
    test, requests = dataset.rows("test"), dataset.rows("requests")
    asked = requests.filter(pc.equal(requests["part"], "test"))
    taken, items = dataset.rows("taken"), dataset.rows("items")
    per_request = pc.value_counts(taken["request"]).to_pylist()
    assert {row["values"]: row["counts"] for row in per_request} == dict(
        zip(asked["request"].to_pylist(), asked["relevant"].to_pylist(), strict=True)
    )
    hits = set(zip(test["request"].to_pylist(), test["item_id"].to_pylist(), test["label"].to_pylist(), strict=True))
    pairs = set(zip(taken["request"].to_pylist(), taken["item_id"].to_pylist(), strict=True))
    assert {(request, item) for request, item, label in hits if label} <= pairs
    assert set(items["item_id"].to_pylist()) == set(test["item_id"].to_pylist()) | {item for _, item in pairs}
    assert pc.any(taken["new"]).as_py()
    assert not pc.all(taken["new"]).as_py()


def test_splits_are_judged_on_weeks_that_follow_each_other(project: Workspace) -> None:
    edit(
        project.root / "registry/models/basket/v2.yaml",
        lambda model: model.update(training={"decision_times": 3}, testing={"decision_times": 1, "splits": 3}),
    )
    dataset = build_dataset(open_workspace("local", project.root), "basket/v2", THEN).dataset
    assert [split.test for split in dataset.splits] == [(LAST_TEST - timedelta(days=7 * back),) for back in (2, 1, 0)]
    moments = set(dataset.rows("learn")[EVENT_TIMESTAMP].to_pylist())
    assert moments == {time for split in dataset.splits for time in (*split.train, *split.validation)}
    assert set(dataset.rows("test")[EVENT_TIMESTAMP].to_pylist()) == {split.test[0] for split in dataset.splits}


def test_decision_times_that_are_not_mature_are_left_out_and_counted(project: Workspace) -> None:
    later = THEN + timedelta(days=3)
    left = build_dataset(project, "basket/v2", later).dataset.document["left_out"]
    assert left["immature_decision_times"] == [THEN.isoformat()]
    events = pq.read_table(project.events)
    between = pc.and_(
        pc.greater(events[EVENT_TIMESTAMP], pa.scalar(THEN)), pc.less_equal(events[EVENT_TIMESTAMP], pa.scalar(later))
    )
    bought = pc.and_(between, pc.equal(events[EVENT_TYPE], PURCHASE))
    assert left["immature_events"] == pc.sum(bought).as_py() > 0


def test_a_set_that_is_not_the_declared_one_is_not_checked(project: Workspace) -> None:
    with pytest.raises(ModelError, match=r"not built from the present declarations.*dataset build"):
        check_dataset(project, "basket/v2", THEN)


def test_an_altered_file_is_found(project: Workspace) -> None:
    built = build_dataset(project, "basket/v2", THEN)
    path = built.dataset.folder / "learn.parquet"
    rows = pq.read_table(path)
    flipped = pc.if_else(
        pc.equal(rows["item_row"], rows["item_row"][0]), pc.subtract(1.0, rows["label"]), rows["label"]
    )
    place = rows.column_names.index("label")
    pq.write_table(rows.set_column(place, "label", flipped.cast(pa.float32())), path, compression="zstd")
    found = check_dataset(project, "basket/v2", THEN)
    assert not found.intact
    assert [violation.where for violation in found.violations] == ["label"]


# ---------------------------------------------------------------- planted faults: the build names each


def refused(workspace: Workspace) -> Sequence[str]:
    """Build, and return what it is refused for; nothing is left behind."""
    with pytest.raises(LeakageError) as caught:
        build_dataset(workspace, "basket/v2", THEN)
    assert not list(workspace.datasets.glob("**/*.*"))
    return caught.value.violations


def test_a_row_of_the_future(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _join_as_if(project, monkeypatch, lambda moments: pc.add(moments, pa.scalar(timedelta(days=7))))
    found = "\n".join(refused(project))
    for view in ("user_weekly", "item_weekly", "user_item", "user_line"):
        assert f"view {view}: " in found
    assert "rows have a row of after the decision time, such as user_id household_" in found


def test_a_row_that_is_older_than_what_was_known(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _join_as_if(project, monkeypatch, lambda moments: pc.subtract(moments, pa.scalar(timedelta(days=7))))
    found = "\n".join(refused(project))
    assert "view user_item: " in found
    assert "rows have an older row than the newest known one" in found


def test_a_row_that_became_known_late(restated: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its feature tables have versions of October's rows that became known on 2017-12-04."""
    source = restated.features.historical

    def forgets_when(entities: pa.Table, features: FeatureSet) -> pa.Table:
        """Join as a store does that looks at event times only: move every version back to its event."""
        folder = restated.feature_tables
        kept = {path: path.read_bytes() for path in folder.glob("*/*.parquet")}
        try:
            for path in kept:
                rows = pq.read_table(path)
                place = rows.column_names.index(CREATED_TIMESTAMP)
                late = pc.greater(rows[CREATED_TIMESTAMP], rows[EVENT_TIMESTAMP])
                early = pc.if_else(
                    late, pc.add(rows[EVENT_TIMESTAMP], pa.scalar(timedelta(microseconds=1))), rows[place]
                )
                stamps = pc.if_else(late, rows[EVENT_TIMESTAMP], early)
                pq.write_table(rows.set_column(place, CREATED_TIMESTAMP, stamps), path)
            return source(entities, features)
        finally:
            for path, content in kept.items():
                path.write_bytes(content)

    monkeypatch.setattr(restated.features, "historical", forgets_when)
    shutil.rmtree(restated.datasets, ignore_errors=True)
    found = "\n".join(refused(restated))
    assert "rows have a row that became known after the decision time" in found


def test_a_transform_that_reads_ahead(project: Workspace) -> None:
    """A week's purchases are stamped with its beginning: the features of Monday hold the week that follows."""
    path = project.root / "feature_repo/transforms.py"
    code = path.read_text()
    assert "(index + 1) * WEEK_S" in code
    path.write_text(code.replace("(index + 1) * WEEK_S", "index * WEEK_S"))
    workspace = open_workspace("local", project.root)
    build_tables(workspace)
    found = "\n".join(refused(workspace))
    assert "view user_item: " in found
    assert "its transform reads later ones" in found


def test_a_duplicated_entity_row(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    build = training_data.build_requests

    def twice(*args: Any) -> Requests:
        made = build(*args)
        return dataclasses.replace(made, rows=pa.concat_tables([made.rows.slice(0, 3), made.rows]))

    monkeypatch.setattr(training_data, "build_requests", twice)
    assert any(
        violation.startswith("entity rows: 3 rows have the same unit, item and decision time")
        for violation in refused(project)
    )


def test_a_label_that_counts_what_came_after_its_horizon(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    true_positives = training_data.positives

    def too_long(engine: Any, events: Path, target: Any, *rest: Any) -> pa.Table:
        return true_positives(engine, events, target.model_copy(update={"horizon": timedelta(days=5)}), *rest)

    monkeypatch.setattr(training_data, "positives", too_long)
    (violation, *_) = refused(project)
    assert "label: " in violation
    assert "a label that is not what the events say: purchase within 1w" in violation


def test_a_label_younger_than_its_horizon(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    true_split = training_data.rolling_splits

    def hasty(known_at: datetime, *rest: Any) -> Any:
        return true_split(known_at + timedelta(days=7), *rest)

    monkeypatch.setattr(training_data, "rolling_splits", hasty)
    with pytest.raises(ModelError, match=r"labels of 2017-11-27: immature until 2017-12-04"):
        build_dataset(project, "basket/v2", THEN)


def test_a_young_label_that_slips_by_the_labels_is_found_by_the_check(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_split, true_positives = training_data.rolling_splits, training_data.positives
    week = timedelta(days=7)
    monkeypatch.setattr(training_data, "rolling_splits", lambda known_at, *rest: true_split(known_at + week, *rest))
    monkeypatch.setattr(training_data, "positives", lambda *args: true_positives(*args[:-1], args[-1] + week))
    found = refused(project)
    assert any("label: " in line and "a label younger than its horizon: it takes 1w" in line for line in found)


def test_a_request_time_feature_that_its_inputs_do_not_give(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project.features.historical

    def historical(entities: pa.Table, features: FeatureSet) -> pa.Table:
        joined = source(entities, features)
        place = joined.column_names.index("pair_share")
        return joined.set_column(place, "pair_share", pc.add(joined["pair_share"], 0.5))

    monkeypatch.setattr(project.features, "historical", historical)
    (violation, *_) = refused(project)
    assert "view rhythm: " in violation
    assert "a value that its inputs at the decision time do not give" in violation


def test_what_cannot_be_checked_is_said(project: Workspace) -> None:
    """A view whose table transforms.py does not make is no silent pass."""
    tables = project.adapters.feature_tables(project.feature_repository / "transforms.py")
    rest = {name: table for name, table in tables.items() if name != "user_line"}
    rows = build_dataset(project, "basket/v2", THEN).dataset.rows("test").slice(0, 50)
    checked = check_rows(
        rows,
        project.features.feature_set("basket_full"),
        project.catalog.problem("weekly_basket").target,
        THEN,
        Sources(project.engine, project.events, {n: project.feature_tables / n for n in rest}, lambda *_: rows, rest),
        (),
    )
    assert checked.unchecked == (
        "view user_line: transforms.py makes no table of its name",
        "view rhythm: it reads a view that is not checked",
    )


def _join_as_if(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, moved: Callable[[pa.ChunkedArray], pa.ChunkedArray]
) -> None:
    """Let the join take another time for an entity row's than its own."""
    source = workspace.features.historical

    def historical(entities: pa.Table, features: FeatureSet) -> pa.Table:
        place = entities.column_names.index(EVENT_TIMESTAMP)
        stamps = moved(entities[EVENT_TIMESTAMP]).cast(entities.schema.field(EVENT_TIMESTAMP).type)
        joined = source(entities.set_column(place, EVENT_TIMESTAMP, stamps), features)
        return joined.set_column(joined.column_names.index(EVENT_TIMESTAMP), EVENT_TIMESTAMP, entities[EVENT_TIMESTAMP])

    monkeypatch.setattr(workspace.features, "historical", historical)


# ---------------------------------------------------------------- learning from what was shown


def test_negatives_may_be_what_was_really_shown(replayed: Workspace, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(replayed.root, project)
    spec = project / "registry/models/basket/v2.yaml"
    shown = spec.with_name("shown.yaml")
    shutil.copy(spec, shown)
    edit(shown, lambda model: model.update(negatives={"source": "shown"}, training={"decision_times": 3}))
    workspace = open_workspace("local", project)
    dataset = build_dataset(workspace, "basket/shown").dataset
    rows = dataset.rows("learn")
    log = workspace.event_log
    first, last = datetime(2017, 11, 6, tzinfo=UTC), datetime(2018, 1, 1, tzinfo=UTC)
    logged = log.impressions("home", first, last).group_by("item_id").aggregate([])
    assert set(rows["item_id"].to_pylist()) <= set(logged["item_id"].to_pylist())
    assert pc.max(rows.group_by("request").aggregate([("label", "count")])["label_count"]).as_py() == 10
    taken = pc.sum(rows["label"]).as_py()
    assert 0 < taken < len(rows) / 2
    (split,) = dataset.splits
    shown_at = to_numpy(rows["event_timestamp"])
    early, late = split.holds("train", shown_at), split.holds("validation", shown_at)
    assert early.any()
    assert late.any()
    assert (early ^ late).all()
    assert not check_dataset(workspace, "basket/shown").violations
    assert dataset.document["negatives"] == "shown"


def test_without_exposures_there_is_nothing_shown_to_learn_from(project: Workspace) -> None:
    spec = project.root / "registry/models/basket/v2.yaml"
    shutil.copy(spec, spec.with_name("shown.yaml"))
    edit(spec.with_name("shown.yaml"), lambda model: model.update(negatives={"source": "shown"}))
    with pytest.raises(ModelError, match=r"placement home has no logged exposures.*learn from candidates"):
        build_dataset(open_workspace("local", project.root), "basket/shown", THEN)
