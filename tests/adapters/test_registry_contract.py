"""Do the fake and MLflow keep weights, evidence and aliases alike?"""

import contextlib
import itertools
import os
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.adapters.catboost_ranker import (
    NO_CATEGORY,
    CatBoostEstimator,
    load_catboost_ranker,
    write_catboost_flavor,
)
from recsys.adapters.feature_pyfunc import write_feature_flavor
from recsys.adapters.mlflow_registry import (
    Loader,
    MlflowRegistry,
    metric_from_mlflow,
    metric_to_mlflow,
    prepare_mlflow,
)
from recsys.errors import ModelError, StoreError
from recsys.modeling.feature_ranker import FeatureRanker, load_feature_ranker
from recsys.ports import Columns, ModelRegistry, Ranker, Registration, TrainingRows, Weights
from recsys.specs.model import CatBoostAlgorithm
from tests.adapters.object_store import own_bucket
from tests.fakes.registry import FakeRegistry

# What MLflow says of its own types while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

LOADERS: dict[str, Loader] = {"catboost": load_catboost_ranker, "feature": load_feature_ranker}
FLAVORS = {"catboost": write_catboost_flavor, "feature": write_feature_flavor}
ROWS: Columns = {
    "frequency": np.array([3.0, 1.0, np.nan, 2.0]),
    "brand": np.array(["a", None, "b", "a"], dtype=object),
}


def registration(
    ranker: Ranker,
    model_version: str = "basket/v2",
    **changes: Any,
) -> Registration:
    """Return a registration with all that belongs to it."""
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in ROWS.items()})
    plain = Registration(
        model_version=model_version,
        ranker=ranker,
        tags={"recsys.gate": "passed", "recsys.logic_digest": "d1"},
        parameters={"loss": "QueryRMSE", **{f"parameter_{number}": "x" for number in range(150)}},
        metrics={"ndcg@10/user": 0.29, "coverage@10": 0.5},
        reports={"report.json": '{"gate": "passed"}', "card.md": "żółć"},
        sample=table.append_column("score", pa.array(ranker.score(ROWS))),
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def catboost() -> Ranker:
    """Give a small fitted ranker."""
    generator = np.random.default_rng(0)
    frequency = generator.normal(size=400)
    columns: Columns = {
        "brand": generator.choice(np.array(["a", "b"], dtype=object), 400),
        "frequency": frequency,
    }
    rows = TrainingRows(columns, (frequency > 0).astype(np.float32), np.repeat(np.arange(40), 10))
    fields = {"type": "catboost", "loss": "QueryRMSE", "iterations": 10, "categorical": ("brand",)}
    return CatBoostEstimator(CatBoostAlgorithm.model_validate(fields), tuple(columns), threads=2).fit(rows, rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder whose name needs escaping in a URI."""
    return tmp_path_factory.mktemp("ml flow")


@pytest.fixture(scope="module")
def mlflow_registry(folder: Path) -> MlflowRegistry:
    """Give a registry in a SQLite file; MLflow takes seconds to make one, so these tests share it."""
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", folder / "artefacts", LOADERS, FLAVORS)


@pytest.fixture(params=["fake", "mlflow"])
def registry(request: pytest.FixtureRequest) -> ModelRegistry:
    """Give a registry of each technology; each test uses models of its own."""
    if request.param == "fake":
        return FakeRegistry()
    shared: MlflowRegistry = request.getfixturevalue("mlflow_registry")
    return shared


class TestModelRegistry:
    """Whatever keeps it, the registry does the same."""

    def test_numbers_weights_and_finds_them(self, registry: ModelRegistry) -> None:
        """Oldest first, each with its logic and tags."""
        first = registry.register(registration(FeatureRanker("frequency"), "numbers/v1"))
        second = registry.register(registration(FeatureRanker("frequency"), "numbers/v2"))
        assert (first.model, first.number, first.version) == ("numbers", 1, "v1")
        assert (second.number, second.model_version) == (2, "numbers/v2")
        found = registry.search("numbers")
        assert found == (first, second)
        assert found[0].tags["recsys.logic_digest"] == "d1"
        assert registry.search("nobody") == ()
        assert registry.search("no' body") == ()

    def test_moves_aliases(self, registry: ModelRegistry) -> None:
        """An alias names one set of weights, or nothing."""
        first = registry.register(registration(FeatureRanker("frequency"), "aliases/v1"))
        second = registry.register(registration(FeatureRanker("frequency"), "aliases/v1"))
        assert registry.resolve("aliases", "champion") is None
        assert registry.resolve("nobody", "champion") is None
        registry.set_alias(first, "champion")
        registry.set_alias(first, "logic-v1")
        registry.set_alias(second, "champion")
        assert registry.resolve("aliases", "champion") == second
        assert registry.resolve("aliases", "logic-v1") == first
        assert registry.aliases("aliases") == {"champion": second.number, "logic-v1": first.number}
        assert registry.aliases("nobody") == {}
        for _ in range(2):
            registry.delete_alias("aliases", "champion")
        registry.delete_alias("nobody", "champion")
        assert registry.resolve("aliases", "champion") is None
        assert registry.resolve("aliases", "logic-v1") == first

    def test_tells_whether_anything_changed(self, registry: ModelRegistry) -> None:
        """Its stamp is another one after each change, and the same while there is none."""
        weights = registry.register(registration(FeatureRanker("frequency"), "stamped/v1"))
        changes = (
            lambda: registry.set_alias(weights, "champion"),
            lambda: registry.delete_alias("stamped", "champion"),
            lambda: registry.register(registration(FeatureRanker("frequency"), "stamped/v1")),
        )
        stamps = [registry.stamp()]
        for change in changes:
            change()
            stamps.append(registry.stamp())
            assert registry.search("stamped")
            assert registry.stamp() == stamps[-1]
        assert None not in stamps
        assert all(one != other for one, other in itertools.pairwise(stamps))

    @pytest.mark.parametrize("alias", ["latest", "v2", "V10", "", "a b"])
    def test_refuses_reserved_aliases(self, registry: ModelRegistry, alias: str) -> None:
        """MLflow's own names are not ours to set."""
        with pytest.raises(ModelError, match="MLflow reserves"):
            registry.set_alias(Weights("basket", 1, "v1"), alias)

    def test_refuses_weights_it_does_not_know(self, registry: ModelRegistry) -> None:
        """The message names them."""
        stranger = Weights("stranger", 9, "v1")
        for use in (registry.load, lambda weights: registry.set_alias(weights, "champion")):
            with pytest.raises(ModelError, match="weights 9 of model stranger"):
                use(stranger)

    @pytest.mark.parametrize("name", ["basket", "/v1", "basket/"])
    def test_refuses_a_logic_without_a_version(self, registry: ModelRegistry, name: str) -> None:
        """A logic is <model>/<version>."""
        with pytest.raises(ModelError, match="<model>/<version>"):
            registry.register(registration(FeatureRanker("frequency"), name))

    def test_loads_what_was_registered(self, registry: ModelRegistry, catboost: Ranker) -> None:
        """The same columns and the same scores, whatever the type."""
        for ranker in (catboost, FeatureRanker("frequency")):
            loaded = registry.load(registry.register(registration(ranker, "loads/v1")))
            assert loaded.columns == ranker.columns
            assert np.array_equal(loaded.score(ROWS), ranker.score(ROWS))

    def test_gives_reports_back(self, registry: ModelRegistry) -> None:
        """By name, as text."""
        weights = registry.register(registration(FeatureRanker("frequency"), "reports/v1"))
        assert registry.report(weights, "report.json") == '{"gate": "passed"}'
        assert registry.report(weights, "card.md") == "żółć"
        with pytest.raises(ModelError, match=r"no report other\.json"):
            registry.report(weights, "other.json")
        registry.add_reports(weights, {"other.json": "[]", "card.md": "again"})
        assert registry.report(weights, "other.json") == "[]"
        assert registry.report(weights, "card.md") == "again"
        assert registry.report(weights, "report.json") == '{"gate": "passed"}'
        with pytest.raises(ModelError):
            registry.add_reports(replace(weights, number=99), {"other.json": "[]"})


_QUIET = """
import sys
from pathlib import Path
import numpy as np, pyarrow as pa
from recsys.adapters.feature_pyfunc import write_feature_flavor
from recsys.adapters.mlflow_registry import MlflowRegistry
from recsys.modeling.feature_ranker import FeatureRanker, load_feature_ranker
from recsys.ports import Registration
folder = Path(sys.argv[1])
uri = f"sqlite:///{folder}/new/mlflow.db"
loaders, flavors = {"feature": load_feature_ranker}, {"feature": write_feature_flavor}
registry = MlflowRegistry(uri, folder / "artefacts", loaders, flavors)
sample = pa.table({"frequency": [1.0, 2.0], "score": [1.0, 2.0]})
ranker = FeatureRanker("frequency")
done = Registration("basket/v1", ranker, {}, {"a": "1"}, {"auc": 0.5}, {"r.json": ""}, sample)
registry.load(registry.register(done))
"""


class TestMlflow:
    """What MLflow's own tools see."""

    def test_its_loaders_give_the_same_scores(
        self, mlflow_registry: MlflowRegistry, folder: Path, catboost: Ranker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`mlflow.catboost` and `mlflow.pyfunc` by model URI; the ranker of one feature needs no recsys."""
        import mlflow

        mlflow_registry.register(registration(catboost, "tools/v1"))
        mlflow_registry.register(registration(FeatureRanker("frequency"), "tools/v1"))
        monkeypatch.setattr(sys, "path", list(sys.path))
        frame = pd.DataFrame({name: values for name, values in ROWS.items() if name == "frequency"})
        full = frame.assign(brand=pd.Series(ROWS["brand"]).fillna(NO_CATEGORY))
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        try:
            native = mlflow.catboost.load_model("models:/tools/1")
            assert np.array_equal(native.predict(full[list(catboost.columns)]), catboost.score(ROWS))
            assert np.array_equal(mlflow.pyfunc.load_model("models:/tools/1").predict(full), catboost.score(ROWS))
            plain = mlflow.pyfunc.load_model("models:/tools/2")
            assert np.array_equal(plain.predict(frame), FeatureRanker("frequency").score(ROWS))
        finally:
            mlflow.set_tracking_uri("")

    def test_a_run_holds_the_evidence(self, mlflow_registry: MlflowRegistry, folder: Path) -> None:
        """Parameters, metrics under names that MLflow allows, and a finished state."""
        from mlflow import MlflowClient

        weights = mlflow_registry.register(registration(FeatureRanker("frequency"), "evidence/v7"))
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        run = client.get_run(str(client.get_model_version("evidence", str(weights.number)).run_id))
        assert client.get_experiment(run.info.experiment_id).name == "recsys/evidence"
        assert run.info.status == "FINISHED"
        assert len(run.data.params) == 151
        assert {metric_from_mlflow(name) for name in run.data.metrics} == {"ndcg@10/user", "coverage@10"}
        assert run.data.tags["recsys.model_version"] == "v7"

    def test_a_failed_registration_leaves_a_failed_run(self, folder: Path) -> None:
        """And no version that somebody could serve."""
        from mlflow import MlflowClient

        def broken(*_: object) -> None:
            message = "disk full"
            raise OSError(message)

        registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db", folder, LOADERS, {"feature": broken})
        with pytest.raises(StoreError, match="disk full"):
            registry.register(registration(FeatureRanker("frequency"), "broken/v1"))
        assert registry.search("broken") == ()
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.get_experiment_by_name("recsys/broken")
        assert experiment is not None
        assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]

    def test_weights_that_score_otherwise_are_refused(self, mlflow_registry: MlflowRegistry, folder: Path) -> None:
        """At registration, and at a load after the artefacts were changed."""
        ranker = FeatureRanker("frequency")
        plain = registration(ranker, "changed/v1")
        wrong = plain.sample.set_column(2, "score", pa.array([0.0] * 4))
        with pytest.raises(ModelError, match="row 0 of their sample"):
            mlflow_registry.register(replace(plain, sample=wrong))
        with pytest.raises(ModelError, match="column frequency is missing"):
            mlflow_registry.register(replace(plain, sample=plain.sample.drop_columns(["frequency"])))
        weights = mlflow_registry.register(plain)
        (bundle,) = (folder / "artefacts" / "changed").rglob("ranker/ranker.json")
        pq.write_table(wrong, bundle.with_name("sample.parquet"))
        with pytest.raises(ModelError, match="row 0 of their sample scores 3 and scored 0"):
            mlflow_registry.load(weights)
        bundle.unlink()
        with pytest.raises(ModelError, match=r"ranker\.json"):
            mlflow_registry.load(weights)

    @pytest.mark.parametrize("name", ["ranker.json", "sample.parquet"])
    @pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
    def test_weights_whose_files_are_damaged_are_refused_as_such(
        self, mlflow_registry: MlflowRegistry, folder: Path, name: str, damage: str
    ) -> None:
        model = f"damaged-{damage}-{name.partition('.')[0]}"
        weights = mlflow_registry.register(registration(FeatureRanker("frequency"), f"{model}/v1"))
        (path,) = (folder / "artefacts" / model).rglob(f"ranker/{name}")
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20] if damage == "cut" else b"")
        with pytest.raises(ModelError, match="train and register again"):
            mlflow_registry.load(weights)

    def test_a_type_nobody_named(self, folder: Path) -> None:
        """The message names the known ones."""
        registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db", folder, {}, {"catboost": write_catboost_flavor})
        with pytest.raises(ModelError, match="type feature: it is none of catboost"):
            registry.register(registration(FeatureRanker("frequency")))

    def test_it_says_nothing_on_its_way(self, tmp_path: Path) -> None:
        """A new database, a registration and a load in a fresh process print nothing and leave nothing."""
        root = Path(__file__).parents[2]
        told = subprocess.run(
            [sys.executable, "-c", _QUIET, str(tmp_path)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (told.stdout, told.stderr) == ("", "")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["artefacts", "new"]


class TestFailures:
    """Each names the registry, never its password, within bounded time."""

    @pytest.mark.parametrize(
        "uri",
        [
            "http://ada:secret@127.0.0.1:1",
            "postgresql+psycopg://ada:secret@127.0.0.1:1/mlflow",
            "nonsense",
            "mlruns",
        ],
    )
    def test_a_registry_that_is_not_there(self, uri: str) -> None:
        """A refused connection, an address that is none."""
        started = time.monotonic()
        with pytest.raises(StoreError, match="model registry") as caught:
            MlflowRegistry(uri, None, LOADERS, FLAVORS).resolve("basket", "champion")
        assert "secret" not in str(caught.value)
        assert time.monotonic() - started < 30

    def test_a_server_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It accepts the connection and says nothing; MLflow's own settings are left as people set them."""
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with socket.create_server(("127.0.0.1", 0)) as server:
            uri = f"http://127.0.0.1:{server.getsockname()[1]}"
            started = time.monotonic()
            with pytest.raises(StoreError, match="timed out"):
                MlflowRegistry(uri, None, LOADERS, FLAVORS).search("basket")
            assert time.monotonic() - started < 20

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        """It is left as it is."""
        (tmp_path / "mlflow.db").write_text("not a database " * 100)
        with pytest.raises(StoreError, match="not a database"):
            MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", None, LOADERS, FLAVORS).search("basket")


def test_a_stamp_is_of_the_file_that_is_there_now(tmp_path: Path) -> None:
    """A database that was replaced is another one, and one that is not there is not made."""
    path, other = tmp_path / "mlflow.db", tmp_path / "other.db"
    registry = MlflowRegistry(f"sqlite:///{path}", tmp_path, LOADERS, FLAVORS)
    assert registry.stamp() is None
    assert not path.exists()
    for file in (path, other):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE runs (id)")
    first = registry.stamp()
    assert first is not None
    assert registry.stamp() == first
    other.replace(path)
    assert registry.stamp() not in {first, None}
    assert MlflowRegistry("http://127.0.0.1:1", None, LOADERS, FLAVORS).stamp() is None


def test_names_of_metrics_can_be_read_back() -> None:
    """And a name that could not is refused."""
    for name in ("ndcg@10/user", "recall@500/global", "auc"):
        assert metric_from_mlflow(metric_to_mlflow(name)) == name
    assert metric_to_mlflow("ndcg@10/user") == "ndcg_at_10/user"
    with pytest.raises(ModelError, match="_at_"):
        metric_to_mlflow("looked_at_10")


def test_import_is_light() -> None:
    """MLflow and CatBoost are imported on first use."""
    script = (
        "import sys, recsys.adapters.mlflow_registry, recsys.adapters.catboost_ranker\n"
        "import recsys.adapters.feature_pyfunc\n"
        "print({'mlflow', 'catboost', 'feast'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_weights_and_reports_are_kept_in_an_object_store(tmp_path: Path) -> None:
    """A registry in a file knows where in the bucket they are; another client loads them from there."""
    prepare_mlflow()
    with own_bucket("shop-models") as stored:
        uri, root = f"sqlite:///{tmp_path}/mlflow.db", "s3://shop-models/recsys/"
        registry = MlflowRegistry(uri, root, LOADERS, FLAVORS)
        weights = registry.register(registration(FeatureRanker("frequency"), "kept/v1"))
        registry.add_reports(weights, {"note.txt": "as trained"})
        assert {key.split("/", 2)[1] for key in stored()} == {"kept"}
        other = MlflowRegistry(uri, root, LOADERS, FLAVORS)
        assert other.load(weights).columns == ("frequency",)
        assert other.report(weights, "note.txt") == "as trained"
        assert not (tmp_path / "mlartifacts").exists()
