"""Does the whole life cycle hold together on real data, with real Feast, CatBoost, MLflow and SQLite?"""

import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from recsys.candidates.pool import to_numpy
from recsys.errors import DecisionError, FeatureError, ModelError
from recsys.schema import EVENT_TIMESTAMP, ITEM, LINE, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.serving.assembly import assemble
from recsys.serving.group_commit import GroupCommit
from recsys.serving.lists import Lists
from recsys.serving.unit_rows import UnitRows
from recsys.web.app import Service, create_app
from recsys.wiring import open_workspace
from recsys.workflows.batches.lists import request_id
from recsys.workflows.batches.serve_batch import serve_batch
from recsys.workflows.data.ingest import ingest
from recsys.workflows.decision.promote import history, promote_experiment, promote_first
from recsys.workflows.experiments.evaluate import evaluate
from recsys.workflows.experiments.power import power
from recsys.workflows.experiments.replay import replay
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.train import train
from recsys.workflows.serving.resolvers import FixedClock, resolver_for
from recsys.workflows.workspace import Workspace
from tests.fakes.event_log import FakeEventLog
from tests.integration.conftest import HOUSEHOLDS, edit

START = datetime(2017, 12, 4, tzinfo=UTC)


def test_the_gate_keeps_a_worse_model_out_and_says_why(shop: Workspace) -> None:
    refused = next(weights for weights in shop.registry.search("basket") if weights.version == "flat")
    assert refused.tags["recsys.gate"] == "failed"
    assert "has to be above" in refused.tags["recsys.gate_reason"]
    assert shop.registry.resolve("basket", "logic-flat") is None
    with pytest.raises(DecisionError, match="has champion basket/v1"):
        promote_first(shop, "basket/flat")


def test_mlflow_alone_scores_what_the_resolver_serves(shop: Workspace) -> None:
    resolver = resolver_for(shop, "home", experiments={})
    resolver.refresh()
    state = resolver.state
    assert state.matrix is not None
    weights = shop.registry.resolve("basket", "logic-v2")
    assert weights is not None
    ranker = shop.registry.load(weights)
    wanted = shop.features.feature_set("basket_full")
    rows = np.arange(0, len(state.matrix.pool), 97)
    unit = UnitRows(shop.features, state.matrix, [_a_household(shop)], START)
    columns = assemble(wanted, state.matrix, unit, Lists.of([rows]), START)

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{shop.state}/mlflow.db")
    try:
        model = mlflow.catboost.load_model(f"models:/basket/{weights.number}")
    finally:
        mlflow.set_tracking_uri(before)
    frame = pa.table({name: pa.array(columns[name]) for name in ranker.columns}).to_pandas()
    np.testing.assert_allclose(ranker.score(columns), model.predict(frame), rtol=1e-6)


def test_mlflow_shows_versions_tags_aliases_and_metrics(shop: Workspace) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{shop.state}/mlflow.db")
    champion = client.get_model_version_by_alias("basket", "champion")
    assert champion.tags["recsys.model_version"] == "v1"
    challenger = client.get_model_version_by_alias("basket", "logic-v2")
    assert {"recsys.logic_digest", "recsys.data_digest", "recsys.git_commit", "feast.feature_service"} <= set(
        challenger.tags
    )
    metrics = client.get_run(challenger.run_id).data.metrics
    assert 0 < metrics["ndcg_at_10/user"] < 1


def test_a_training_row_and_a_request_see_the_same_features(shop: Workspace) -> None:
    wanted = shop.features.feature_set("basket_full")
    resolver = resolver_for(shop, "home", experiments={})
    resolver.refresh()
    matrix = resolver.state.matrix
    assert matrix is not None
    household = _a_household(shop)
    rows = np.flatnonzero(matrix.pool.eligible)[:400]
    online = assemble(wanted, matrix, UnitRows(shop.features, matrix, [household], START), Lists.of([rows]), START)
    stamps = pa.array([START] * len(rows), TIMESTAMP)
    entities = pa.table(
        {
            USER: pa.array([household] * len(rows)),
            ITEM: pa.array(matrix.pool.ids[rows], pa.string()),
            LINE: pa.array(matrix.pool.columns[LINE][rows], pa.string()),
            EVENT_TIMESTAMP: stamps,
            REQUEST_TIMESTAMP: stamps,
        }
    )
    offline = shop.features.historical(entities, wanted)
    for name in wanted.columns:
        expected = to_numpy(offline[name])
        if expected.dtype == object:
            assert list(online[name]) == list(expected), name
        else:
            np.testing.assert_allclose(online[name], expected, rtol=1e-9, err_msg=name)


def test_a_batch_holds_what_a_request_would_get(shop: Workspace) -> None:
    batch = serve_batch(shop, "home", START)
    assert batch.units <= HOUSEHOLDS
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(batch.folder).to_pylist():
        rows.setdefault(row[USER], []).append(row)
    resolver = resolver_for(shop, "home", clock=FixedClock(START))
    resolver.refresh()
    assert len(rows) == batch.units
    for household, mine in rows.items():
        answer = resolver.recommend(household, request_id=request_id("home", START, household)).exposure
        slots = [(item.item_id, item.position, item.score, item.propensity) for item in answer.items]
        assert [(row["item_id"], row["rank"], row["score"], row["propensity"]) for row in mine] == slots
        made_by = {(row["arm"], row["model_version"], row["weights"], row["feature_digest"]) for row in mine}
        assert made_by == {(answer.arm, answer.model_version, answer.weights, answer.feature_digest)}
        assert {(row["request_id"], row["fallback"]) for row in mine} == {(answer.request_id, None)}


def test_what_is_up_to_date_is_reused(shop: Workspace) -> None:
    feast = Path(sys.executable).with_name("feast")
    printed = subprocess.run(
        [str(feast), "apply"],
        cwd=shop.root / "feature_repo",
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert "Created" not in printed
    assert "Updated" not in printed
    again = open_workspace("local", shop.root)
    assert ingest(again).reused
    assert all(table.reused for table in build_tables(again))
    assert materialize(again).reused
    number = len(again.registry.search("basket"))
    assert train(again, "basket/v2", START).reused
    assert len(again.registry.search("basket")) == number


def test_trained_logic_does_not_change(shop: Workspace) -> None:
    path = shop.root / "registry/models/basket/v2.yaml"
    before = path.read_text()
    edit(path, lambda spec: spec["algorithm"].update(depth=4))
    try:
        with pytest.raises(ModelError, match="trained logic does not change"):
            train(open_workspace("local", shop.root), "basket/v2", START)
    finally:
        path.write_text(before)


def test_http_answers_follow_the_resolver(shop: Workspace) -> None:
    resolver = resolver_for(shop, "home", experiments={})
    log = FakeEventLog()
    grouped = GroupCommit(log, wait_seconds=60)
    served = Service({"home": resolver}, grouped, shop.clock, poll_seconds=0.05, on_stop=grouped.close)
    with TestClient(create_app(served), base_url="http://127.0.0.1") as client:
        assert any(client.get("/readyz").status_code == 200 for _ in range(5_000))
        household = _a_household(shop)
        answer = client.post("/v1/recommend", json={"placement": "home", "user_id": household, "k": 5})
        assert answer.status_code == 200
        body = answer.json()
        assert len(body["items"]) == 5
        assert body["model_version"] == "basket/v1"
        logged = log.request(body["request_id"])
        assert logged is not None
        assert [item.item_id for item in logged.items] == [item["item_id"] for item in body["items"]]
        assert client.post("/v1/recommend", json={"placement": "cellar", "user_id": household}).status_code == 422
        assert client.post("/v1/recommend", json={"placement": "home"}).status_code == 422
        assert client.get("/healthz").json() == {"status": "alive"}


def test_no_verdict_no_promotion(shop: Workspace) -> None:
    with pytest.raises(DecisionError, match="no frozen report"):
        promote_experiment(shop, "home_ranker")


def test_a_replay_is_logged_once_and_moves_the_clock(replayed: Workspace) -> None:
    again = replay(replayed, "home_ranker")
    assert again.reused
    assert again.steps == 8
    assert not again.fallbacks
    assert replayed.clock.now() == datetime(2018, 1, 1, tzinfo=UTC)


def test_the_lists_before_the_start_say_what_it_took(replayed: Workspace) -> None:
    found = power(replayed, "home_ranker")
    start = replayed.catalog.experiment("home_ranker").plan.start
    assert found.past == (start - timedelta(weeks=2), start)  # half of the four weeks that a replay logs before it
    assert found.covariate_weeks == 2
    primary, guardrail = found.needs
    assert (primary.metric, primary.cuped, guardrail.metric) == ("precision@10", True, "mrr@10")
    assert primary.units is not None
    assert primary.units > found.past_units  # of few households: the shop has six times as many
    assert found.exposed_units == evaluate(replayed, "home_ranker").document["analysis"]["exposed_units"]
    assert found.running is not None
    assert found.running["precision@10"] is not None


def test_a_report_is_frozen_and_obeyed(replayed: Workspace) -> None:
    report = evaluate(replayed, "home_ranker")
    assert report.reused
    analysis = report.document["analysis"]
    assert analysis["health"]["failures"] == []
    assert 100 < sum(arm["units"] for arm in analysis["arms"]) <= HOUSEHOLDS
    roles = {found["effect"]["metric"]: found["role"] for found in analysis["effects"]}
    assert roles == {"precision@10": "primary", "mrr@10": "guardrail", "order_rate": "check"}
    assert evaluate(replayed, "home_ranker").document == json.loads(json.dumps(report.document))

    champion = replayed.registry.resolve("basket", "champion")
    if report.verdict["name"] == "SHIP":
        assert promote_experiment(replayed, "home_ranker").changed
        assert not promote_experiment(replayed, "home_ranker").changed
        assert [entry.action for entry in history(replayed, "basket")][-1] == "promote"
    else:
        with pytest.raises(DecisionError, match=report.verdict["name"]):
            promote_experiment(replayed, "home_ranker")
        assert replayed.registry.resolve("basket", "champion") == champion


def test_a_batch_of_the_past_is_final_and_none_is_made_up(replayed: Workspace) -> None:
    materialize(replayed)
    serve_batch(replayed, "home")
    assert serve_batch(replayed, "home").reused
    with pytest.raises(FeatureError, match="keeps no past"):
        serve_batch(replayed, "home", datetime(2017, 12, 11, tzinfo=UTC))


def _a_household(shop: Workspace) -> str:
    users = pq.read_table(shop.tables / "users.parquet", columns=[USER])[USER]
    return str(users[7])


def test_nothing_that_is_served_comes_from_a_pickle(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are CatBoost's own files and JSON; Feast makes request-time functions of their source."""

    def refused(*_: object, **__: object) -> None:
        pytest.fail("a pickle was loaded")

    for module in (pickle, dill):
        for name in ("load", "loads"):
            monkeypatch.setattr(module, name, refused)
    workspace = open_workspace("local", shop.root)
    resolver = resolver_for(workspace, "home", experiments={})
    resolver.refresh()
    champion = resolver.state.champion
    assert champion is not None
    answer = resolver.recommend(_a_household(workspace)).exposure
    assert answer.fallback is None
    assert answer.items
