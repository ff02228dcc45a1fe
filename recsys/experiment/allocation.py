"""May a running experiment be edited like this, and whom would the edit move?"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow.compute as pc

from recsys.experiment.bucketing import Units
from recsys.experiment.routing import Router, held_out
from recsys.specs.experiment import Arm, Experiment, LayerRange, Plan
from recsys.specs.layer import Layer

_JUDGED_APART: Final = frozenset(
    {"arms", "overrides", "owners", "plan", "slot", "ratio", "model_version", "weeks", "end"}
)
"""Fields of an experiment, an arm or a plan that have rules of their own or change nothing that is measured; any other,
also a new one, is fixed."""

Layers = tuple[Layer | None, Layer | None]
"""The layer of an experiment before and after an edit."""


def check_change(before: Experiment, after: Experiment) -> list[str]:
    """Compare two declarations of one running experiment.

    Allowed are: a larger ratio inside its slot, a new arm in a slot disjoint from all declared ones, other
    overrides, and an earlier end. Everything else would move units or change what the experiment was to
    prove.

    Args:
        before: what is running.
        after: what is asked for.

    Returns:
        Findings, each as `field: change: rule`; empty when the change is allowed.
    """
    return [
        *_fixed_fields(before, after),
        *_arms(before, after),
        *_plan(before, after),
    ]


def moved(before: Experiment, after: Experiment, units: Units, layers: Layers = (None, None)) -> int:
    """Count the units whose arm would change, other than from default traffic into an arm.

    Args:
        before: what is running.
        after: what is asked for.
        units: ids without nulls; those with an override in either declaration are testers and not counted.
        layers: of the experiment before and after, where it has one.

    Returns:
        The number of units that would lose the arm they have.

    Raises:
        ExperimentError: if a unit is null or not text.
    """
    old, new = Router("before", before, layers[0]), Router("after", after, layers[1])
    had, gets = old.route_many(units, overrides=False), new.route_many(units, overrides=False)
    lost = pc.fill_null(pc.not_equal(had, gets), fill_value=True)
    changed = np.asarray(pc.and_(pc.is_valid(had), lost))
    return int(np.count_nonzero(changed & ~old.overridden(units) & ~new.overridden(units)))


def moved_by_layer(experiment: Experiment, layers: tuple[Layer, Layer], units: Units) -> int:
    """Count the units whom an edit of a layer would move: out of their arm, or into or out of the holdout.

    Args:
        experiment: one of the layer, which runs.
        layers: before and after.
        units: ids without nulls; testers are not counted.
    """
    held = [held_out(layer, units) for layer in layers]
    old, new = (Router("edited", experiment, layer) for layer in layers)
    had, gets = old.route_many(units, overrides=False), new.route_many(units, overrides=False)
    lost = np.asarray(pc.and_(pc.is_valid(had), pc.fill_null(pc.not_equal(had, gets), fill_value=True)))
    return int(np.count_nonzero((lost | (held[0] != held[1])) & ~old.overridden(units)))


def _fixed_fields(before: Experiment, after: Experiment) -> Iterator[str]:
    reasons = {
        "hypothesis": "what a running experiment is to prove is fixed",
        "placement": "the traffic it splits is fixed",
        "unit": "another unit assigns everybody anew",
        "seed": "another seed assigns everybody anew",
        "layer": "another part of a layer is other units",
        "control": "what the arms are compared with is fixed",
        "metrics": "what decides is fixed before the first result is seen",
    }
    for field in Experiment.model_fields:
        if field in _JUDGED_APART:
            continue
        reason = reasons.get(field, "what runs is fixed")
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            yield f"{field}: {_show(old)} -> {_show(new)}: {reason}; declare a new experiment"


def _arms(before: Experiment, after: Experiment) -> Iterator[str]:
    for name, old in before.arms.items():
        new = after.arms.get(name)
        if new is None:
            yield f"arms.{name}: removed: its units would lose their arm; end the experiment instead"
            continue
        if new.model_version != old.model_version:
            yield (
                f"arms.{name}.model_version: {old.model_version} -> {new.model_version}:"
                " an arm serves one logic for its life; add an arm in a free slot"
            )
        for field in Arm.model_fields:
            if field not in _JUDGED_APART and getattr(new, field) != getattr(old, field):
                yield f"arms.{name}.{field}: {getattr(old, field)} -> {getattr(new, field)}: what runs is fixed"
        if new.slot_range() != old.slot_range():
            yield f"arms.{name}.slot: {_slot(old.slot)} -> {_slot(new.slot)}: a slot is fixed for the life of the seed"
        if new.ratio < old.ratio:
            yield (
                f"arms.{name}.ratio: {old.ratio} -> {new.ratio}: a ratio only grows, shrinking moves units out;"
                " end the experiment earlier instead"
            )
    yield from _new_arms(before, after)


def _new_arms(before: Experiment, after: Experiment) -> Iterator[str]:
    for name in sorted(after.arms.keys() - before.arms.keys()):
        first, last = after.arms[name].slot_range()
        for other, arm in before.arms.items():
            start, end = arm.slot_range()
            if first < end and start < last:
                yield (
                    f"arms.{name}.slot: {_slot(after.arms[name].slot)}: overlaps {_slot(arm.slot)} of arm {other};"
                    " a new arm needs a slot disjoint from all declared ones"
                )


def _plan(before: Experiment, after: Experiment) -> Iterator[str]:
    for field in Plan.model_fields:
        if field in _JUDGED_APART:
            continue
        old, new = getattr(before.plan, field), getattr(after.plan, field)
        if old != new:
            yield f"plan.{field}: {_show(old)} -> {_show(new)}: the plan is fixed once started; declare a new one"
    later = "a running experiment may end earlier, not later; declare a new experiment"
    if after.plan.weeks > before.plan.weeks:
        yield f"plan.weeks: {before.plan.weeks} -> {after.plan.weeks}: {later}"
    elif after.plan.start == before.plan.start and after.plan.window()[1] > before.plan.window()[1]:
        yield f"plan.end: {_show(before.plan.end)} -> {_show(after.plan.end)}: {later}"


def _slot(slot: tuple[float, float]) -> str:
    return f"[{slot[0]}, {slot[1]})"


def _show(value: object) -> str:
    if isinstance(value, LayerRange):
        return f"{_slot(value.range)} of {value.name}"
    if value is None:
        return "none"
    return value.isoformat() if isinstance(value, datetime) else str(value)
