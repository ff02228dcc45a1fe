"""What did a stream table say at each moment: a session's features, as every event of it became known?

A transform says what a set of events means. A row of the past is the transform of the set that was known then: sets are
handed to it side by side, each under a name of its own, so that it cannot see past one. Online it is run on the set
that is known now. Both times it is the same expression, over what `counted` lets in.

An event counts by what was said of it first: a log that keeps the first version of an id says the same.
"""

from datetime import datetime
from typing import Any, Final

from recsys.data.knowledge import literal
from recsys.errors import FeatureError
from recsys.ports import FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP, EVENT_TYPE, EVENTS

FIRST_EVENTS: Final = 1_000
"""So many events of a session count, those known first: one with more is a robot's, and what its rows cost stays
bounded."""

# Names of columns that stand beside those of events for a while; a set's name is the number of its last event.
_VERSION: Final = "recsys_version"
_NUMBER: Final = "recsys_number"
_SET: Final = "recsys_set"
_UNIT: Final = "recsys_unit"
_DIGITS: Final = 12


def counted(events: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the events that a stream table is made of: of its types, in their first version, of a known session.

    An event that is said to have happened after it became known is known when it happens.
    """
    import ibis

    mine = events.filter(events[EVENT_TYPE].isin(table.events) & events[table.keys[0]].notnull())
    first = ibis.window(group_by=EVENT_ID, order_by=CREATED_TIMESTAMP)
    mine = mine.mutate(**{_VERSION: ibis.row_number().over(first)})
    known = ibis.greatest(mine[CREATED_TIMESTAMP], mine[EVENT_TIMESTAMP])
    return mine.filter(mine[_VERSION] == 0).mutate(**{CREATED_TIMESTAMP: known}).select(*EVENTS.names)


def stream_rows(transform: Any, events: Any, table: FeatureTable, step: Step) -> Any:  # noqa: ANN401 - of Ibis tables
    """Return the rows of a stream table that became known in (step.after, step.until].

    Args:
        transform: events to rows, both Ibis tables.
        events: the event table.
        table: keys and types of events.
        step: which rows.
    """
    unit, mine = table.keys[0], counted(events, table)
    mine = mine.filter(mine[CREATED_TIMESTAMP] <= literal(step.until))
    if step.after is not None:
        fresh = mine.filter(mine[CREATED_TIMESTAMP] > literal(step.after)).select(unit).distinct()
        mine = mine.semi_join(fresh, unit)
    sets, handed = _sets(mine, unit, step.after)
    made = checked(transform(handed), table)
    named = made.mutate(
        **{_SET: made[unit].substr(0, _DIGITS).cast("int64"), _UNIT: made[unit].substr(_DIGITS)},
    )
    # A set changes the rows of the keys that its last events are of; the others stand as they were.
    changed = named.semi_join(
        sets,
        [
            named[_UNIT] == sets[unit],
            named[_SET] == sets[_SET],
            named[CREATED_TIMESTAMP] == sets[CREATED_TIMESTAMP],
        ],
    )
    return changed.mutate(**{unit: changed[_UNIT]}).select(*made.columns)


def _sets(mine: Any, unit: str, after: datetime | None) -> tuple[Any, Any]:  # noqa: ANN401 - Ibis tables
    """Return each set's name and when it was known, and the events of all sets, with the set's name before the unit."""
    numbered = _numbered(mine, unit)
    sets = numbered.group_by([unit, CREATED_TIMESTAMP]).aggregate(**{_SET: numbered[_NUMBER].max()})
    if after is not None:
        sets = sets.filter(sets[CREATED_TIMESTAMP] > literal(after))
    names = sets.select(unit, _SET)
    together = numbered.join(names, [numbered[unit] == names[unit], numbered[_NUMBER] <= names[_SET]])
    name = together[_SET].cast("string").lpad(_DIGITS, "0")
    return sets, together.mutate(**{unit: name + together[unit]}).select(*EVENTS.names)


def first_events(mine: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return those of each session's counted events that count."""
    return _numbered(mine, table.keys[0]).drop(_NUMBER)


def _numbered(mine: Any, unit: str) -> Any:  # noqa: ANN401 - Ibis tables
    import ibis

    in_order = ibis.window(group_by=unit, order_by=[CREATED_TIMESTAMP, EVENT_ID])
    numbered = mine.mutate(**{_NUMBER: ibis.row_number().over(in_order)})
    return numbered.filter(numbered[_NUMBER] < FIRST_EVENTS)


def checked(made: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the rows of a stream table's transform whose keys are known.

    Raises:
        FeatureError: if it does not say which row is of what, or when.
    """
    absent = [name for name in (*table.keys, EVENT_TIMESTAMP, CREATED_TIMESTAMP) if name not in made.columns]
    if absent:
        message = (
            f"its rows have no {', '.join(absent)}: a stream table's row has its keys, {EVENT_TIMESTAMP} (the newest"
            f" of its events) and {CREATED_TIMESTAMP} (the newest of theirs)"
        )
        raise FeatureError(message)
    return made.filter([made[key].notnull() for key in table.keys])
