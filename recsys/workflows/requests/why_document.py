"""What does `recsys why` tell of an answer, as JSON values?"""

from collections.abc import Mapping
from typing import Any

from recsys.serving.ranking import known
from recsys.workflows.requests.why import Why


def items_of(found: Why) -> set[str]:
    """Return the items that an explanation names."""
    named = {item.item_id for item in found.exposure.items}
    if found.explanation is not None:
        named.update(each.item.item_id for each in found.explanation.items)
        named.update(item for stage in found.explanation.stages for item in (*stage.before, *stage.after))
    return named


def document(found: Why, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an explanation as JSON values.

    Args:
        found: the answer, explained.
        labels: item id to what it is; none by default.
    """
    shown, made = found.exposure, found.explanation
    told: dict[str, Any] = {
        "request_id": shown.request_id,
        "placement": shown.placement,
        "user_id": shown.user_id,
        "session_id": shown.session_id,
        "at": shown.event_timestamp.isoformat(),
        "asked": dict(shown.asked),
        "experiment": shown.experiment,
        "arm": shown.arm,
        "arm_now": found.arm_now,
        "overridden": shown.overridden,
        "model_version": shown.model_version,
        "weights": shown.weights,
        "fallback": shown.fallback,
        "watermarks": dict(shown.watermarks),
        "labels": dict(labels or {}),
        "logged": [
            {"position": item.position, "item_id": item.item_id, "score": known(item.score)} for item in shown.items
        ],
    }
    if made is None or found.as_of is None:
        return told | {"features": None, "recomputed": None}
    return told | {
        "features": {
            "source": "recomputed at the watermark" if shown.features is None else "logged row",
            "as_of": found.as_of.isoformat(),
            "digest": shown.feature_digest,
            "digest_equal": found.digest_equal,
            "differing": dict(found.differing),
        },
        "recomputed": {
            "items_equal": found.items_equal,
            "candidates": made.candidates,
            "sources": dict(made.sources),
            "filtered": dict(made.filtered),
            "stages": [
                {
                    "stage": stage.stage,
                    "before": list(stage.before),
                    "after": list(stage.after),
                    "left_out": stage.left_out,
                }
                for stage in made.stages
            ],
            "items": [
                {
                    "position": each.item.position,
                    "item_id": each.item.item_id,
                    "score": known(each.item.score),
                    "rank": each.rank or None,
                    "propensity": each.item.propensity,
                    "sources": list(each.sources),
                    "features": dict(each.features),
                    "contributions": dict(each.contributions),
                }
                for each in made.items
            ],
        },
    }
