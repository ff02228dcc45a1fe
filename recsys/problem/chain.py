"""Which event followed which? Each gets the moment at which its unit entered the funnel.

An event of the first stage enters. An event of any other follows, if one of the stage before came before it (or at the
same moment) in the same session, or not longer ago than the window since the entry; it takes over the latest entry
that leads to it. Anything else came without the stage before it, and leads to nothing itself.
"""

from datetime import timedelta
from typing import Final

from recsys.problem.rows import Segments, Span, Stages, rows_sql
from recsys.schema import QUANTITY, SESSION, USER, VALUE

CHAINED: Final = "chained"
"""Name of the table of `chained_sql` in the queries that count it."""
_MILLISECOND: Final = timedelta(milliseconds=1)


def chained_sql(stages: Stages, span: Span, segments: Segments | None = None) -> str:
    """Return SQL of a funnel's events, each with where it belongs.

    Returns:
        segment, user_id, session_id, stage, happened, quantity and value of `rows_sql`; `entered`, null where the event
        did not follow; `opens`, true for the first event of the first stage in its session (its unit, by a window);
        `earlier`, whether the stage before came before at all; and for each stage before the last one `passed_<stage>`,
        whether it came before, in the session or within the window.
    """
    place = f"partition by {_partition(stages, segments)} order by happened"
    before = range(stages.final)
    lasts = ", ".join(
        f"max(case when stage = {number} then happened end) over upto as last_{number}" for number in before
    )
    entries = "count(case when stage = 0 then 1 end) over (upto rows between unbounded preceding and current row)"
    steps = [
        f"""step_0 as (select *, case when stage = 0 and {_placed(stages)} then happened end as entered_0,
            {lasts}, stage = 0 and {entries} = 1 as opens from staged
            window upto as ({place}))"""
    ]
    steps += [
        f"""step_{number} as (select *, case when stage = {number} then {
            _within(stages, f"max(entered_{number - 1}) over ({place})")
        } end as entered_{number} from step_{number - 1})"""
        for number in range(1, stages.final + 1)
    ]
    entered = ", ".join(f"entered_{number}" for number in range(stages.final + 1))
    earlier = " ".join(f"when {number + 1} then last_{number} is not null" for number in before)
    passed = ", ".join(f"({_within(stages, f'last_{number}')}) is not null as passed_{number}" for number in before)
    return f"""
with staged as ({rows_sql(stages, span, segments)}), {", ".join(steps)}
select segment, {USER}, {SESSION}, stage, happened, {QUANTITY}, {VALUE}, coalesce({entered}) as entered,
       opens and {_placed(stages)} as opens, {_placed(stages)} and case stage {earlier} else false end as earlier,
       {passed}
from step_{stages.final}
"""


def _partition(stages: Stages, segments: Segments | None) -> str:
    within = [USER, *([SESSION] if stages.window is None else [])]
    return ", ".join([*within, *(["segment"] if segments is not None else [])])


def _placed(stages: Stages) -> str:
    """Return the condition that an event can follow or lead: it has a session, where sessions count."""
    return f"{SESSION} is not null" if stages.window is None else "true"


def _within(stages: Stages, since: str) -> str:
    """Return SQL of a moment, null where what happens is too late for it."""
    if stages.window is None:
        return f"case when {SESSION} is not null then {since} end"
    limit = f"to_milliseconds({stages.window // _MILLISECOND})"
    return f"case when happened - {limit} <= {since} then {since} end"
