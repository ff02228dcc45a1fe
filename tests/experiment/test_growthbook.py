"""Does GrowthBook's own SDK give what we give, for every string, range and exported payload?"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growthbook import GrowthBook
from growthbook.core import chooseVariation, gbhash, getBucketRanges
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.experiment import bucketing
from recsys.experiment.bucketing import BUCKETS, bucket, buckets
from recsys.experiment.growthbook import growthbook_payload
from recsys.experiment.routing import DEFAULT, Router, arm_table, assign, routers_of
from recsys.specs.experiment import Arm, Experiment
from recsys.specs.layer import Layer
from tests.experiment.random_ids import random_ids

CASES = Path(__file__).parents[3] / "shared" / "data" / "growthbook_cases.json"
AT = datetime(2017, 12, 5, tzinfo=UTC)
VERSION_2 = 2


def cases(kind: str) -> list[Any]:
    """Return published cases of a kind."""
    if not CASES.exists():
        pytest.skip("GrowthBook's cases are not beside this checkout")
    found: list[Any] = json.loads(CASES.read_text(encoding="utf-8"))[kind]
    assert found
    return found


# ---------------------------------------------------------------- hash


def test_a_million_strings_of_all_of_unicode_have_the_sdks_bucket() -> None:
    units = random_ids(1_000_000, seed=1)
    expected = np.fromiter(
        (round(gbhash("żółć 😀:", unit, VERSION_2) * BUCKETS) for unit in units), np.int32, len(units)
    )
    assert np.array_equal(buckets("żółć 😀:", units), expected)
    assert [bucket("żółć 😀:", unit) for unit in units[:20_000]] == expected[:20_000].tolist()


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters()), st.text(st.characters()))
def test_the_sdk_agrees_on_lone_surrogates_too(seed: str, unit: str) -> None:
    assert bucket(seed, unit) == round(gbhash(seed, unit, VERSION_2) * BUCKETS)


def test_published_hashes() -> None:
    for seed, unit, version, share in cases("hash"):
        if version == VERSION_2:
            assert bucket(seed, unit) == buckets(seed, [unit])[0] == round(share * BUCKETS)
        elif version == 1:  # one round, into a thousand parts, the id first: nothing here assigns by it
            assert bucketing._fnv1a(unit + seed) % 1_000 == round(share * 1_000)
        else:
            assert share is None


# ---------------------------------------------------------------- ranges and variations


def test_published_ranges_are_slots_and_ratios() -> None:
    """What a weight is there, is a slot here, of which an arm takes the coverage: anchored at the slot's start."""
    for name, (number, coverage, weights), expected in cases("getBucketRange"):
        whole = weights is not None and len(weights) == number and abs(sum(weights) - 1) < 0.01
        taken = min(max(coverage, 0), 1)  # the SDK falls back to these where a declaration is wrong; ours is refused
        shares = weights if whole else [1 / number] * number
        start = 0.0
        found = []
        for share in shares:
            slot = (round(start, 4), round(start + share, 4))
            if taken:
                first, last = Arm(model_version="m/v1", slot=slot, ratio=round(share * taken, 4)).bucket_range()
            else:  # an arm of no traffic is not declared
                first = last = round(slot[0] * BUCKETS)
            found.append([first / BUCKETS, last / BUCKETS])
            start += share
        assert found == expected, name
        assert np.allclose(getBucketRanges(number, coverage, weights), expected), name


def test_published_variations_are_the_arm_of_the_bucket() -> None:
    for name, share, ranges, expected in cases("chooseVariation"):
        arms = {
            str(number): {"model_version": "m/v1", "slot": [first, last], "ratio": last - first}
            for number, (first, last) in enumerate(ranges)
            if first < last
        }
        table = arm_table(declare(arms, control=next(iter(arms))))
        found = table[round(share * BUCKETS)]
        assert (DEFAULT if found == DEFAULT else int(list(arms)[found])) == expected, name
        assert chooseVariation(share, ranges) == expected


# ---------------------------------------------------------------- payload


def declare(arms: dict[str, Any], **fields: Any) -> Experiment:
    """Return an experiment."""
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": arms,
            "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
            "plan": {"units": 100, "start": "2017-12-04", "weeks": 4},
        }
        | fields
    )


ARMS = {
    "control": {"model_version": "basket/v1", "slot": [0.0, 0.3334], "ratio": 0.3333},
    "treatment": {"model_version": "basket/v2", "slot": [0.3334, 0.6667], "ratio": 0.1234},
    "third": {"model_version": "basket/v3", "slot": [0.7, 1.0], "ratio": 0.3},
}
LAYERS = {"page": Layer(seed="strona główna:", holdout=(0.9, 1.0))}
EXPERIMENTS = {
    "whole": declare(ARMS, placement="cart", seed="whole:", overrides={"u7": "third", "ü": "control"}),
    "first": declare(ARMS, seed="first:", layer={"name": "page", "range": [0.0, 0.4321]}),
    "second": declare(
        ARMS,
        seed="second:",
        layer={"name": "page", "range": [0.4321, 0.9]},
        overrides={"u1": "treatment", "u2": "treatment", "u3": "control"},
    ),
    "visits": declare(ARMS, placement="search", seed="visits:", unit="session_id"),
}
PLACEMENTS = ("cart", "home", "lonely", "search")


def sdk() -> GrowthBook:
    """Return the SDK with the payload as it would come over the network."""
    routers = [router for name in PLACEMENTS for router in routers_of(name, EXPERIMENTS, LAYERS)]
    payload = json.loads(json.dumps(growthbook_payload(PLACEMENTS, routers, AT)))
    return GrowthBook(features=payload["features"])


def test_the_sdk_gives_our_arm_for_a_hundred_thousand_ids() -> None:
    client = sdk()
    units = [*(f"u{number}" for number in range(50_000)), *random_ids(50_000, seed=2, shortest=1)]
    routers = {name: routers_of(name, EXPERIMENTS, LAYERS) for name in ("home", "cart")}
    arms: set[tuple[str, str] | None] = set()
    for number, unit in enumerate(units):
        placement = "cart" if number % 4 == 0 else "home"
        client.set_attributes({"user_id": unit})
        given = client.eval_feature(placement).value
        ours = assign(routers[placement], unit, None, AT)
        expected = None
        if ours is not None:
            expected = {"experiment": ours.experiment, "arm": ours.arm, "model_version": ours.model_version}
        assert given == expected, unit
        arms.add(None if ours is None else (ours.experiment, ours.arm))
    assert len(arms) == 10


def test_overrides_sessions_and_default_traffic() -> None:
    client = sdk()
    for unit, placement, experiment, arm in (
        ("u1", "home", "second", "treatment"),
        ("u3", "home", "second", "control"),
        ("u7", "cart", "whole", "third"),
        ("ü", "cart", "whole", "control"),
    ):
        client.set_attributes({"user_id": unit})
        found = client.eval_feature(placement)
        assert (found.source, found.value["experiment"], found.value["arm"]) == ("force", experiment, arm)
    router = Router("visits", EXPERIMENTS["visits"])
    for number in range(1_000):
        client.set_attributes({"user_id": "u1", "session_id": f"s{number}"})
        found = client.eval_feature("search")
        ours = router.route(f"s{number}")
        assert (found.value or {}).get("arm") == (None if ours is None else ours.arm)
        if ours is not None:
            assert found.experimentResult.key == ours.arm
    assert client.eval_feature("lonely").value is None


def test_a_layer_is_a_filter_by_the_second_hash_and_never_a_namespace() -> None:
    (first, second) = routers_of("home", EXPERIMENTS, LAYERS)
    rules = growthbook_payload(["home"], [second, first], AT)["features"]["home"]["rules"]
    assert [rule["id"] for rule in rules] == ["second:override:control", "second:override:treatment", "first", "second"]
    for rule, share in zip(rules[2:], ([0.0, 0.4321], [0.4321, 0.9]), strict=True):
        (layer,) = rule["filters"]
        assert layer == {"attribute": "user_id", "seed": "strona główna:", "hashVersion": 2, "ranges": [share]}
        assert "namespace" not in rule
        assert "weights" not in rule
        assert rule["ranges"] == [[0.0, 0.3333], [0.3334, 0.4568], [0.7, 1.0]]
