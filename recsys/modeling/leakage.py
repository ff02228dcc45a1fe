"""Does a training set know more than its decision times did?

Every row is derived anew by `modeling.clocks` and compared; then a sample of its units' features is made anew from
nothing but the events that were known at the decision time, which shows a transform that reads ahead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.candidates.pool import UNKNOWN, to_numpy
from recsys.data.steps import period_end
from recsys.modeling.clocks import labels_anew, matched_rows, same_values, where_from
from recsys.modeling.given import given_columns
from recsys.ports import Engine, FeatureSet, FeatureTable, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.base import format_duration
from recsys.specs.problem import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLED_UNITS: Final = 30
"""Of how many units a decision time's features are made anew."""
_TOLERANCE: Final = 1e-9
_READS_AHEAD: Final = "features that the events known at the decision time do not give: its transform reads later ones"
_NOT_IN_TABLE: Final = "a value that no row of its table has"


@dataclass(frozen=True)
class Violation:
    """One rule that rows of a training set break."""

    rule: str
    where: str
    """The view and feature, or the label."""
    rows: int
    example: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.where}: {self.rows:,} rows have {self.rule}, such as {self.example}"


@dataclass(frozen=True)
class Sources:
    """What a training set was made from."""

    engine: Engine
    events: Path
    tables: Mapping[str, Path]
    """Feature table folders by view."""
    recompute: Callable[[str, datetime, pa.Array], pa.Table]
    """Makes the newest rows of a table for some units, from nothing but the events known at a moment."""
    declared: Mapping[str, FeatureTable]
    given: Callable[[pa.Table, datetime], Mapping[str, "NDArray[Any]"]] | None = None
    """Makes anew what requests brought along with some rows of one decision time: columns by name, one value a
    row."""


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    violations: tuple[Violation, ...]
    clocks: Mapping[str, pa.Table]
    """View to what matched each row by the definition: its event_timestamp, and the features that request-time
    transforms read."""
    unchecked: tuple[str, ...] = ()
    """Views that could not be derived anew, or not wholly, with why."""


def check_rows(
    rows: pa.Table,
    features: FeatureSet,
    target: Target,
    known_at: datetime,
    sources: Sources,
    recomputed: Sequence[datetime],
    *,
    labelled: bool = True,
) -> Checked:
    """Check one part of a training set.

    Args:
        rows: user_id, item_id (not of lists of units) and further join keys, event_timestamp, request_timestamp, label
            and feature columns.
        features: what was joined.
        target: event, horizon and settle delay of the label.
        known_at: labels may use nothing created after it.
        sources: events, feature tables, and how to make them anew.
        recomputed: the decision times whose features are made anew.
        labelled: whether a label is the target event within the horizon; a label by attribution is checked to be one,
            not to be none.
    """
    if not len(rows):
        return Checked((), {})
    found = [
        *_duplicates(rows),
        *_immature(rows, target, known_at),
        *_labels(rows, target, known_at, sources, labelled),
    ]
    read = {name for transform in features.transforms for name in transform.inputs}
    clocks: dict[str, pa.Table] = {}
    unchecked: list[str] = []
    for view in features.views:
        if view.name not in sources.tables:
            unchecked.append(f"view {view.name}: transforms.py makes no table of its name")
            continue
        if set(sources.declared[view.name].keys) != set(view.join_keys):
            unchecked.append(f"view {view.name}: its table has other keys, so it is not made anew from the events")
        matched = matched_rows(sources.engine, rows, view, sources.tables[view.name])
        found += _clocks(rows, features, view, matched, sources)
        for moment in recomputed:
            found += _ahead(rows, view, matched, moment, sources)
        # All columns of all views would be the training set a second time.
        clocks[view.name] = matched.select([EVENT_TIMESTAMP, *(name for name in view.features if name in read)])
    given = given_columns(rows, features)
    if given and (sources.given is None or not recomputed):
        unchecked += [f"column {name}: the request brings it along, and it was not made anew" for name in given]
    elif sources.given is not None:
        for moment in recomputed:
            found += _given(rows, given, moment, sources.given)
    derived = {name for view in features.views if view.name in clocks for name in view.features}
    derived |= {REQUEST_TIMESTAMP, *given}
    unchecked += [
        f"view {transform.name}: it reads a view that is not checked"
        for transform in features.transforms
        if not set(transform.inputs) <= derived
    ]
    found += _transforms(rows, features, clocks)
    return Checked(tuple(found), clocks, tuple(unchecked))


def _duplicates(rows: pa.Table) -> list[Violation]:
    keys = [name for name in ("request", USER, ITEM, EVENT_TIMESTAMP) if name in rows.column_names]
    counted = rows.group_by(keys).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted["count_all"], 1))
    if not len(twice):
        return []
    extra = int(pc.sum(twice["count_all"]).as_py()) - len(twice)
    return [Violation("the same unit, item and decision time as another", "entity rows", extra, _key(twice, 0))]


def _immature(rows: pa.Table, target: Target, known_at: datetime) -> list[Violation]:
    wait = target.horizon + target.settle_delay
    young = np.flatnonzero(
        to_numpy(rows[EVENT_TIMESTAMP]) > np.datetime64((known_at - wait).replace(tzinfo=None), "us")
    )
    if not len(young):
        return []
    settled = f" and settles for {format_duration(target.settle_delay)}" if target.settle_delay else ""
    rule = (
        f"a label younger than its horizon: it takes {format_duration(target.horizon)}{settled}, and the set is of what"
        f" was known at {known_at:%Y-%m-%d %H:%M}"
    )
    return [Violation(rule, "label", len(young), _key(rows, int(young[0])))]


def _labels(rows: pa.Table, target: Target, known_at: datetime, sources: Sources, exact: bool) -> list[Violation]:
    truly = to_numpy(labels_anew(sources.engine, rows, sources.events, target, known_at))
    said = rows[LABEL].to_numpy().astype(np.float64)
    # Labels are float32; that of a credited event is right where there is one to credit.
    close = np.isclose(said, truly, rtol=1e-6, atol=0)
    wrong = np.flatnonzero(~close) if exact else np.flatnonzero((said > 0) & (truly <= 0))
    if not len(wrong):
        return []
    first = int(wrong[0])
    measured = "" if target.measure == "event" else f"{target.measure} of "
    rule = (
        f"a label that is not what the events say: {measured}{target.event} within {format_duration(target.horizon)}"
        f" after the decision, known at {known_at:%Y-%m-%d %H:%M}"
    )
    return [Violation(rule, "label", len(wrong), f"{_key(rows, first)}: {said[first]:g}, should be {truly[first]:g}")]


def _clocks(
    rows: pa.Table, features: FeatureSet, view: ViewInfo, matched: pa.Table, sources: Sources
) -> list[Violation]:
    """Compare a view's columns with what the definition gives, and say which rule a difference breaks."""
    column_of = dict(zip(features.references, features.columns, strict=True))
    asked = {name: column_of[f"{view.name}:{name}"] for name in view.features if f"{view.name}:{name}" in column_of}
    wrong = np.zeros(len(rows), dtype=bool)
    worst: dict[str, NDArray[np.bool_]] = {}
    for name, column in asked.items():
        worst[name] = ~same_values(to_numpy(rows[column]), to_numpy(matched[name]))
        wrong |= worst[name]
    if not wrong.any():
        return []
    numbers = np.flatnonzero(wrong)
    given = rows.select([*view.join_keys, EVENT_TIMESTAMP, *asked.values()]).rename_columns(
        [*view.join_keys, EVENT_TIMESTAMP, *asked]
    )
    rules = where_from(sources.engine, given.take(numbers), view, sources.tables[view.name], list(asked))
    found = []
    for rule in dict.fromkeys(rules):
        of_rule = [int(number) for number, said in zip(numbers, rules, strict=True) if said == rule]
        first = of_rule[0]
        name = next(name for name in asked if worst[name][first])
        values = f"{rows[asked[name]][first].as_py()!r}, should be {matched[name][first].as_py()!r}"
        example = f"{_key(rows, first, view.join_keys)}: {name} is {values}"
        found.append(Violation(rule or _NOT_IN_TABLE, f"view {view.name}", len(of_rule), example))
    return found


def _ahead(rows: pa.Table, view: ViewInfo, matched: pa.Table, moment: datetime, sources: Sources) -> list[Violation]:
    """Make the features of some units anew from what was known at a decision time."""
    table = sources.declared.get(view.name)
    if table is None or set(table.keys) != set(view.join_keys):
        return []
    at_moment = pc.equal(rows[EVENT_TIMESTAMP].cast(TIMESTAMP), pa.scalar(moment, TIMESTAMP))
    numbers = np.flatnonzero(at_moment.to_numpy(zero_copy_only=False))
    if not len(numbers):
        return []
    units = pc.unique(rows[table.keys[0]].take(numbers)).drop_null()
    if not len(units):
        return []
    step = max(len(units) // SAMPLED_UNITS, 1)
    units = units.take(pa.array(range(0, len(units), step)))
    mine = numbers[pc.is_in(rows[table.keys[0]].take(numbers), units).to_numpy(zero_copy_only=False)]
    anew = sources.recompute(view.name, moment if table.is_stream else period_end(moment, table.period), units)
    if view.ttl:
        anew = anew.filter(
            pc.greater_equal(anew[EVENT_TIMESTAMP].cast(TIMESTAMP), pa.scalar(moment - view.ttl, TIMESTAMP))
        )
    wanted = _rows_by_key(rows.take(mine), anew, view.join_keys)
    compared = [name for name in view.features if view.kinds.get(name) != "text"]
    for name in compared:
        kept, made = to_numpy(matched[name].take(mine)), to_numpy(anew[name].take(wanted))
        wrong = np.flatnonzero(~same_values(kept, made, _TOLERANCE))
        if len(wrong):
            first = int(mine[wrong[0]])
            example = (
                f"{_key(rows, first, view.join_keys)}: {name} is {kept[wrong[0]]}, and {made[wrong[0]]} by the events"
                f" known then"
            )
            return [Violation(_READS_AHEAD, f"view {view.name}", len(wrong), example)]
    return []


def _given(
    rows: pa.Table,
    names: Sequence[str],
    moment: datetime,
    make: Callable[[pa.Table, datetime], Mapping[str, "NDArray[Any]"]],
) -> list[Violation]:
    """Make what requests bring along anew from what stood online at a decision time."""
    at_moment = pc.equal(rows[EVENT_TIMESTAMP].cast(TIMESTAMP), pa.scalar(moment, TIMESTAMP))
    numbers = np.flatnonzero(at_moment.to_numpy(zero_copy_only=False))
    if not names or not len(numbers):
        return []
    mine = rows.take(numbers)
    made_anew = make(mine, moment).items()
    anew = {name: values.astype(np.float64) if values.dtype.kind in "iub" else values for name, values in made_anew}
    found = []
    for name in names:
        said = to_numpy(mine[name])
        wrong = np.flatnonzero(~same_values(said, anew[name], _TOLERANCE)) if name in anew else np.arange(len(mine))
        if len(wrong):
            first = int(wrong[0])
            made = anew[name][first] if name in anew else "nothing: no source or context gives it"
            example = f"{_key(mine, first)}: {name} is {said[first]}, should be {made}"
            rule = "a value that no request of the decision time would have brought"
            found.append(Violation(rule, f"column {name}", len(wrong), example))
    return found


def _rows_by_key(rows: pa.Table, anew: pa.Table, keys: Sequence[str]) -> pa.Array:
    """Return the row of `anew` that has each row's keys, null where none has."""
    of_key = {key: row for row, key in enumerate(zip(*(anew[name].to_pylist() for name in keys), strict=True))}
    asked = zip(*(rows[name].to_pylist() for name in keys), strict=True)
    return pa.array([of_key.get(key) for key in asked], pa.int64())


def _transforms(rows: pa.Table, features: FeatureSet, clocks: Mapping[str, pa.Table]) -> list[Violation]:
    """Compute what is computed at request time from what the definition gives."""
    read = {name for transform in features.transforms for name in transform.inputs}
    known: dict[str, NDArray[Any]] = {
        name: to_numpy(rows[name]) for name in (REQUEST_TIMESTAMP, *given_columns(rows, features))
    }
    for view in features.views:
        if view.name in clocks:
            known |= {name: to_numpy(clocks[view.name][name]) for name in view.features if name in read}
    found = []
    for transform in features.transforms:
        if not set(transform.inputs) <= set(known):
            continue
        with np.errstate(all="ignore"):
            outputs = transform.function({name: known[name] for name in transform.inputs})
        for name in transform.outputs:
            if name not in features.columns:
                continue
            given = to_numpy(rows[name])
            made = _computed(outputs[name], given)
            wrong = np.flatnonzero(~same_values(given, made, _TOLERANCE))
            if len(wrong):
                first = int(wrong[0])
                example = f"{_key(rows, first)}: {name} is {given[first]}, should be {made[first]}"
                rule = "a value that its inputs at the decision time do not give"
                found.append(Violation(rule, f"view {transform.name}", len(wrong), example))
    return found


def _computed(values: Any, like: "NDArray[Any]") -> "NDArray[Any]":  # noqa: ANN401 - a list or an array
    """Return an output of a function as `to_numpy` gives the column that was kept of it."""
    if like.dtype.kind == "O":
        return np.array([UNKNOWN if value is None else str(value) for value in values], dtype=object)
    return np.asarray(values, dtype=like.dtype)


def _key(rows: pa.Table, row: int, keys: Sequence[str] = (USER, ITEM)) -> str:
    named = ", ".join(f"{name} {rows[name][row].as_py()}" for name in keys if name in rows.column_names)
    return f"{named} at {rows[EVENT_TIMESTAMP][row].as_py():%Y-%m-%d %H:%M}"
