"""How would GrowthBook's SDKs compute our arms? As features with explicit hash ranges, one a placement."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from recsys.experiment.bucketing import BUCKETS
from recsys.experiment.routing import Router

HASH_VERSION: Final = 2


def growthbook_payload(placements: Iterable[str], routers: Iterable[Router], at: datetime) -> dict[str, Any]:
    """Return what GrowthBook's API would answer an SDK.

    A feature has the placement's name. Its value says who answers, `{experiment, arm, model_version}`, and is null for
    default traffic, which no rule is for. Overrides are forced ahead of every experiment. A layer is a filter with
    the hash of version 2: GrowthBook's older `namespace` hashes by version 1, into a thousand parts. Arms are explicit
    ranges, as they are taken now; so nothing depends on weights, whose borders move when an arm grows. Sticky
    bucketing is off: a unit keeps its arm by its hash.

    Args:
        placements: names; one without an experiment has a feature without rules.
        routers: of the experiments that shall apply; an SDK knows no start and no end.
        at: when this was so.

    Returns:
        JSON values, the same for the same declarations but for `dateUpdated`.
    """
    rules: dict[str, list[dict[str, Any]]] = {name: [] for name in sorted(placements)}
    known = sorted(routers, key=lambda router: router.name)
    for router in known:
        rules[router.experiment.placement] += _forced(router)
    for router in known:
        rules[router.experiment.placement].append(_rule(router))
    features = {name: {"defaultValue": None, "rules": found} for name, found in rules.items()}
    return {"status": 200, "features": features, "dateUpdated": at.isoformat()}


def _forced(router: Router) -> Iterable[dict[str, Any]]:
    experiment = router.experiment
    for arm in experiment.arms:
        testers = sorted(unit for unit, given in experiment.overrides.items() if given == arm)
        if testers:
            yield {
                "id": f"{router.name}:override:{arm}",
                "condition": {experiment.unit: {"$in": testers}},
                "force": _value(router, arm),
            }


def _rule(router: Router) -> dict[str, Any]:
    experiment = router.experiment
    rule: dict[str, Any] = {
        "id": router.name,
        "key": router.name,
        "name": router.name,
        "hashAttribute": experiment.unit,
        "hashVersion": HASH_VERSION,
        "seed": experiment.seed,
        "phase": "0",
        "disableStickyBucketing": True,
        "variations": [_value(router, arm) for arm in experiment.arms],
        "meta": [{"key": arm, "name": arm} for arm in experiment.arms],
        "ranges": [_shares(arm.bucket_range()) for arm in experiment.arms.values()],
    }
    if router.layer is not None and experiment.layer is not None:
        layer = {
            "attribute": experiment.unit,
            "seed": router.layer.seed,
            "hashVersion": HASH_VERSION,
            "ranges": [_shares(experiment.layer.bucket_range())],
        }
        rule["filters"] = [layer]
    return rule


def _value(router: Router, arm: str) -> Mapping[str, str]:
    version = router.experiment.arms[arm].model_version
    return {"experiment": router.name, "arm": arm, "model_version": version}


def _shares(buckets: tuple[int, int]) -> list[float]:
    """Return [from, to) as an SDK divides a bucket by 10,000: the same float, so that a border is hit exactly."""
    return [end / BUCKETS for end in buckets]
