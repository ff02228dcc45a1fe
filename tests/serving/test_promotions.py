"""Do an answer's scores belong to exactly the weights that it names, while these are promoted in mid-load?"""

import threading
import time
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from recsys.adapters.mlflow_registry import MlflowRegistry
from recsys.decision import promotion
from recsys.decision.champion import champion_status
from recsys.experiment.routing import Router
from recsys.ports import Exposure, Registration, Weights
from recsys.serving.fleet import served
from recsys.serving.resolver import Resolver
from recsys.serving.state import Online
from recsys.specs.experiment import Experiment
from recsys.workflows.serving.resolvers import champion_to_serve
from tests.fakes.clock import FixedClock
from tests.fakes.item_models import FakeItemModels
from tests.fakes.ledger import FakeLedger
from tests.fakes.ranker import FakeRanker, load_fake_ranker
from tests.fakes.registry import FakeRegistry
from tests.serving.small_shop import NOW, placement
from tests.serving.test_resolver import small

REQUESTS: Final = 10_000
PROMOTIONS: Final = 20
CLIENTS: Final = 4


def _write_fake(bundle: Path, folder: Path, model: object) -> None:
    """Write an MLflow model of a fake ranker: its description alone."""
    del bundle
    folder.mkdir()
    model.save(folder / "MLmodel")  # type: ignore[attr-defined] # mlflow.models.Model


@pytest.fixture
def registry(tmp_path: Path) -> MlflowRegistry:
    """MLflow's own registry in a SQLite file."""
    return MlflowRegistry(
        f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "kept", {"fake": load_fake_ranker}, {"fake": _write_fake}
    )


def _register(registry: MlflowRegistry, factor: int) -> Weights:
    """Register a logic of its own whose scores are so many times the pair's frequency."""
    sample = pa.table({"times": [1.0, 3.0], "score": [1.0 * factor, 3.0 * factor]})
    ranker = FakeRanker((("times", float(factor)),))
    return registry.register(Registration(f"basket/v{factor}", ranker, {}, {}, {}, {}, sample))


def test_of_ten_thousand_answers_during_twenty_promotions_none_mixes_weights(registry: MlflowRegistry) -> None:
    ledger, clock = FakeLedger(), FixedClock(NOW)
    known = {weights.number: number for number in range(1, 4) if (weights := _register(registry, number))}
    features = small()
    features.materialize(NOW)
    resolver = Resolver(
        "home",
        placement(),
        Online(features, FakeItemModels()),
        registry,
        lambda model: champion_status(registry, ledger, model).alias,
        (),
        clock,
        lambda _: "frequency",
    )

    def promote(weights: Weights) -> None:
        registry.set_alias(weights, "champion")
        promotion.accept(registry, ledger, clock, "basket", "test")

    every = registry.search("basket")
    promote(every[0])
    resolver.follow()
    answers: list[list[Exposure]] = [[] for _ in range(CLIENTS)]

    def ask(mine: list[Exposure]) -> None:
        while len(mine) < REQUESTS // CLIENTS:
            mine.append(resolver.recommend("u1").exposure)

    clients = [threading.Thread(target=ask, args=(mine,)) for mine in answers]
    for client in clients:
        client.start()
    seen = set()
    for number in range(PROMOTIONS):
        while sum(map(len, answers)) < (number + 1) * REQUESTS // (PROMOTIONS + 2):
            time.sleep(0.001)
        promote(every[(number + 1) % len(every)])
        resolver.follow()
        champion = resolver.state.champion
        assert champion is not None
        seen.add(champion.weights.number)
    for client in clients:
        client.join()
    assert seen == set(known)
    told = [exposure for mine in answers for exposure in mine]
    assert len(told) == REQUESTS
    assert {exposure.weights for exposure in told} == set(known), "all of them answered"
    for exposure in told:
        assert exposure.weights is not None
        factor = known[exposure.weights]
        assert (exposure.model_version, exposure.fallback) == (f"basket/v{factor}", None)
        assert [item.score for item in exposure.items] == [9 * factor, 2 * factor, 2 * factor]


def test_a_service_says_by_what_override_its_champion_was_made() -> None:
    """The same weights served an arm before: they are not loaded again, and what is told of them is new."""
    registry, ledger, clock = FakeRegistry(), FakeLedger(), FixedClock(NOW)
    ranker = FakeRanker((("times", 1.0),))
    weights = registry.register(Registration("basket/v1", ranker, {"recsys.gate": "failed"}, {}, {}, {}, pa.table({})))
    registry.set_alias(weights, "logic-v1")
    arm = {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5}
    experiment = Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": {"control": arm, "treatment": {**arm, "slot": [0.5, 1.0]}},
            "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.1}},
            "plan": {"units": 10, "start": NOW.isoformat(), "weeks": 1},
        }
    )
    features = small()
    features.materialize(NOW)
    resolver = Resolver(
        "home",
        placement(),
        Online(features, FakeItemModels()),
        registry,
        lambda model: champion_to_serve(registry, ledger, model, lambda *_: None),
        [Router("home_ranker", experiment)],
        clock,
        lambda _: "frequency",
    )
    resolver.follow()
    assert "override" not in served(resolver)
    before = resolver.state.models["basket/v1"]
    promotion.promote_first(registry, ledger, clock, "basket/v1", "ada", override="a law changes")
    resolver.follow()
    assert served(resolver)["override"] == "a law changes"
    champion = resolver.state.champion
    assert champion is not None
    assert champion.ranker is before.ranker
    resolver.follow()
    assert served(resolver)["override"] == "a law changes"
