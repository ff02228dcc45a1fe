"""How do a replay and an evaluation read?"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recsys.printing.terminal import percent, table

if TYPE_CHECKING:
    from recsys.workflows.evaluate import Evaluated
    from recsys.workflows.replay import Replayed


def replayed(done: "Replayed") -> str:
    """Show what a replay logged."""
    if done.reused:
        return f"  logged before: {done.exposures:,} exposures over {done.steps} weeks, {done.outcomes:,} outcomes"
    return (
        f"  {done.exposures:,} exposures over {done.steps} weeks ({done.fallbacks:,} by a fallback),"
        f" {done.outcomes:,} purchases"
        f" logged as outcomes\n  the clock stands at {done.until:%Y-%m-%d}"
    )


def evaluation(done: "Evaluated") -> str:
    """Show health, arms, effects and the verdict."""
    analysis, verdict = done.document["analysis"], done.document["verdict"]
    arms = [[arm["arm"], arm["model_version"], f"{arm['units']:,}", f"{arm['requests']:,}"] for arm in analysis["arms"]]
    effects = [
        [
            found["effect"]["metric"],
            found["role"],
            f"{found['effect']['control']:.4f}",
            f"{found['effect']['treatment']:.4f}",
            percent(found["effect"]["relative"]),
            f"{found['effect']['p_value']:.2g}",
            "CUPED" if found["effect"]["cuped"] else "",
        ]
        for found in analysis["effects"]
    ]
    lines = [
        f"  {analysis['hypothesis']}",
        table(["arm", "model version", "units", "requests"], arms, right=(2, 3)),
        table(["metric", "role", "control", "treatment", "relative effect", "p", ""], effects, right=(2, 3)),
        f"  health: {_health(analysis['health'])}",
        f"  {_reached(analysis)}",
        f"  verdict: {verdict['name']}. {verdict['reason']}",
    ]
    frozen = done.document["frozen"]
    if frozen:
        lines.append(
            f"  report frozen at {frozen[:10]}{' before' if done.reused else ''}, digest {done.document['digest']}"
        )
    return "\n".join(lines)


def _health(health: Mapping[str, Any]) -> str:
    return (
        f"{'; '.join(health['failures']) or 'sound'} (sample ratio p = {health['sample_ratio_p_value']:.2f}, units in"
        f" several arms {health['multiple_share']:.2%}, assignments recomputed: {health['mismatched_units']} differ)"
    )


def _reached(analysis: Mapping[str, Any]) -> str:
    return (
        f"{analysis['state']} at {analysis['until'][:10]}: {analysis['exposed_units']:,} of"
        f" {analysis['planned_units']:,} planned units; {analysis['left_out_requests']:,} requests left out, their"
        " outcome window is open"
    )
