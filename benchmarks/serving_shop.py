"""What does `serving.py` measure: a shop whose placement takes candidates, and Feast's own way to the same scores?"""

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import yaml

from recsys.adapters.catboost_ranker.matrices import features_data
from recsys.schema import REQUEST_TIMESTAMP
from recsys.serving.assembly import assemble
from recsys.serving.group_commit import GroupCommit
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.lists import Lists
from recsys.serving.resolver import Resolver
from recsys.serving.state import LoadedModel
from recsys.serving.unit_rows import UnitRows
from recsys.wiring import open_workspace
from recsys.workflows.serving.resolvers import known_units, resolver_for
from recsys.workflows.workspace import Workspace

if TYPE_CHECKING:
    from recsys.ports import FeatureSet

ROOT = Path(__file__).parents[1]
PLACEMENT = "bench"
VERSION = "basket/v2"
PACKED = "recsys.adapters.packed_online_store"

_DECLARED = """problem: weekly_basket
model: basket
k: 10
pool: {view: item_weekly, feature: item_baskets_91d, minimum: 1}
candidates:
  - {source: given, limit: 300}
fallback: popular
"""


def made(project: Path, households: int | None) -> Path:
    """Make a project of the shipped declarations with a trained champion and a placement that takes candidates.

    Args:
        project: a folder that is not there yet.
        households: so many of the data's; None for all.
    """
    for folder in ("registry", "feature_repo"):
        shutil.copytree(ROOT / folder, project / folder)
    environment = project / "registry" / "environments" / "local.yaml"
    text = environment.read_text(encoding="utf-8")
    if households is not None:
        text = text.replace("{source: completejourney}", f"{{source: completejourney, households: {households}}}")
    environment.write_text(text, encoding="utf-8")
    (project / "registry" / "placements" / f"{PLACEMENT}.yaml").write_text(_DECLARED, encoding="utf-8")
    shutil.rmtree(project / "registry" / "experiments")
    for command in (("ingest",), ("apply",), ("features", "build"), ("train", "--model-version", VERSION)):
        recsys(project, *command)
    recsys(project, "promote", "--model-version", VERSION, "--override", "--reason", "a benchmark of its speed")
    return project


def on_redis(project: Path, other: Path, url: str, prefix: str) -> Path:
    """Make a copy of a project whose online store is a Redis server."""
    shutil.copytree(project, other, ignore=shutil.ignore_patterns("online.db*"))
    configuration = other / "feature_repo" / "feature_store.yaml"
    declared = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    clock = declared["online_store"]["clock"]
    declared["online_store"] = {
        "type": f"{PACKED}.PackedRedisOnlineStore",
        "url": url,
        "key_prefix": prefix,
        "clock": clock,
    }
    configuration.write_text(yaml.safe_dump(declared), encoding="utf-8")
    # What was materialized was so into another store.
    (other / ".recsys" / "materialized.json").unlink()
    recsys(other, "apply")
    recsys(other, "features", "build")
    return other


def recsys(project: Path, *arguments: str) -> str:
    """Run a command in a project, as a person would."""
    done = subprocess.run(
        [sys.executable, "-m", "recsys", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"recsys {' '.join(arguments)} failed with {done.returncode}:\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Shop:
    """A project with its resolver, in this process."""

    workspace: Workspace
    resolver: Resolver
    users: Sequence[str]
    items: Sequence[str]
    """Ids of the pool, the most bought first."""

    @classmethod
    def of(cls, project: Path) -> "Shop":
        """Open a project and fill its resolver."""
        workspace = open_workspace("local", project)
        resolver = resolver_for(workspace, PLACEMENT)
        resolver.refresh()
        matrix = resolver.state.matrix
        if matrix is None:
            sys.exit("the resolver has no items")
        bought = matrix.pool.columns["item_baskets_91d"]
        order = (-pd.Series(bought).fillna(0)).sort_values(kind="stable").index
        items = [str(matrix.pool.ids[row]) for row in order if matrix.pool.eligible[row]]
        return cls(workspace, resolver, known_units(workspace, PLACEMENT, workspace.clock.now()), items)

    @property
    def champion(self) -> LoadedModel:
        """The model that answers."""
        found = self.resolver.state.champion
        if found is None:
            sys.exit("the resolver has no model")
        return found

    @property
    def matrix(self) -> ItemMatrix:
        """The items."""
        found = self.resolver.state.matrix
        if found is None:
            sys.exit("the resolver has no items")
        return found

    @property
    def catboost(self) -> Any:  # noqa: ANN401 - catboost has no types
        """CatBoost's own model inside the ranker."""
        ranker: Any = self.champion.ranker
        return ranker._model  # noqa: SLF001 - the bare prediction is what is compared with

    def native(self, count: int) -> Callable[[int], None]:
        """Return CatBoost's own prediction on a ready matrix of one user's candidates."""
        matrix, at = self.matrix, self.workspace.clock.now()
        rows = matrix.pool.locate(pa.array(self.items[:count], pa.string()))
        unit = UnitRows(self.workspace.features, matrix, [self.users[0]], at)
        columns = assemble(self.champion.features, matrix, unit, Lists.of([rows]), at)
        ranker: Any = self.champion.ranker
        data = features_data(columns, ranker._numeric, ranker._categorical)  # noqa: SLF001 - as above
        model = self.catboost
        return lambda _: model.predict(data, thread_count=1)

    def raw_read(self) -> Callable[[int], None]:
        """Return the shortest read of a user's rows: their bytes by the driver itself, not decoded."""
        views = [view.name for view in self.champion.features.views if view.join_keys[0] == "user_id"]
        features: Any = self.workspace.features
        config = features.store.config
        if config.online_store.type.endswith("PackedSqliteOnlineStore"):
            database = sqlite3.connect(Path(config.repo_path) / config.online_store.path)
            queries = [f'SELECT payload FROM "{config.project}_{view}" WHERE group_key = ?' for view in views]

            def read(number: int) -> None:
                key = (self.users[number % len(self.users)],)
                for query in queries:
                    database.execute(query, key).fetchall()

            return read
        from redis import Redis

        client = Redis.from_url(config.online_store.url)
        prefix = f"{config.online_store.key_prefix}{config.project}:rows:"

        def fetch(number: int) -> None:
            key = b"s" + self.users[number % len(self.users)].encode()
            for view in views:
                client.hget(prefix + view, key)

        return fetch

    @contextlib.contextmanager
    def logs(self) -> Iterator[Mapping[str, Callable[[Any], object]]]:
        """Yield what an exposure is handed to, by when it is answered; all of it is on disk when the block ends."""
        logs = {name: GroupCommit(self.workspace.event_log, name) for name in ("buffered", "acknowledged")}
        try:
            yield {name: log.write_exposures for name, log in logs.items()}
        finally:
            for log in logs.values():
                log.close()

    def ours(self, count: int, log: Callable[[Any], object] | None = None) -> Callable[[int], None]:
        """Return a whole request to the resolver, and what happens to its exposure."""
        candidates = tuple(self.items[:count])

        def ask(number: int) -> None:
            answer = self.resolver.recommend(self.users[number % len(self.users)], candidates=candidates)
            if answer.exposure.fallback is not None:
                sys.exit(f"answered by fallback: {answer.exposure.fallback}")
            if log is not None:
                log([answer.exposure])

        return ask


class FeastShop:
    """The same features by Feast's own online read, from a store of Feast's or from ours."""

    def __init__(self, shop: Shop, own: Path | None) -> None:
        """Open a store; a folder of its own gives it Feast's SQLite store, filled by Feast's local engine."""
        from feast import FeatureStore
        from feast.repo_config import RepoConfig

        features: Any = shop.workspace.features
        self._shop = shop
        self._store = features.store
        self._features: FeatureSet = shop.champion.features
        if own is None:
            return
        own.mkdir()
        configuration = shop.workspace.feature_repository / "feature_store.yaml"
        raw = yaml.safe_load(configuration.read_text(encoding="utf-8"))
        registry = own / "registry.db"
        shutil.copy(shop.workspace.state / "registry.db", registry)
        raw |= {
            "registry": str(registry),
            "online_store": {"type": "sqlite", "path": str(own / "online.db")},
            "batch_engine": {"type": "local"},
        }
        config = RepoConfig(**raw)
        config.repo_path = shop.workspace.feature_repository
        self._store = FeatureStore(repo_path=str(config.repo_path), config=config)
        views = [view for view in self._store.list_feature_views() if view.name in self._views]
        provider = self._store._get_provider()  # noqa: SLF001 - makes the tables, as an apply would
        provider.update_infra(config.project, [], views, [], [], partial=False)
        now = shop.workspace.clock.now()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self._store.materialize(datetime(2017, 1, 1, tzinfo=UTC), now, list(self._views))

    @property
    def _views(self) -> list[str]:
        return [view.name for view in self._features.views]

    def ask(self, count: int) -> Callable[[int], None]:
        """Return Feast's read of a user's candidates, as `to_dict`, and CatBoost's prediction of it."""
        shop, matrix = self._shop, self._shop.matrix
        items = shop.items[:count]
        rows = matrix.pool.locate(pa.array(items, pa.string()))
        keys = sorted({key for view in self._features.views for key in view.join_keys} - {"user_id", "item_id"})
        attributes = {key: matrix.pool.columns[key][rows] for key in keys}
        model, columns = shop.catboost, list(shop.catboost.feature_names_)
        categories = [columns[place] for place in model.get_cat_feature_indices()]
        now = shop.workspace.clock.now()
        references = list(self._features.references)

        def ask(number: int) -> None:
            user = shop.users[number % len(shop.users)]
            entities = [
                {
                    "user_id": user,
                    "item_id": item,
                    REQUEST_TIMESTAMP: now,
                    **{key: str(values[place]) for key, values in attributes.items()},
                }
                for place, item in enumerate(items)
            ]
            found = self._store.get_online_features(features=references, entity_rows=entities).to_dict()
            frame = pd.DataFrame({name: found[name] for name in columns})
            for name in columns:
                frame[name] = (
                    frame[name].fillna("unknown").astype(str) if name in categories else frame[name].astype(float)
                )
            model.predict(frame, thread_count=1)

        return ask
