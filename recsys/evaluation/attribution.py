"""Which outcome belongs to which request, and what does each unit sum up to?

An outcome belongs to a request of its unit with request time < outcome time <= request time + window. The SQL is
DuckDB's; it reads the columns of the event log (ports.EventLog) and compares times as microseconds since 1970. Requests
and outcomes are numbered, so that no text is carried through the joins behind the first.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from recsys.evaluation.terms import Term, last_column

_REQUESTS: Final = """
WITH requests AS (
    SELECT {columns}e.request_id, e.{unit} AS unit, e.arm, epoch_us(e.event_timestamp) AS moment,
           e.experiment IS NULL AS is_before, epoch_us(e.event_timestamp) + p.window_length AS closes,
           (epoch_us(e.event_timestamp) - p.starts) // 86400000000 AS day, p.ends
    FROM exposures e CROSS JOIN parameters p
    WHERE e.{unit} IS NOT NULL AND (
        (e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden
         AND epoch_us(e.event_timestamp) >= p.first AND epoch_us(e.event_timestamp) < p.last)
        OR (e.experiment IS NULL
            AND epoch_us(e.event_timestamp) >= p.pre_start
            AND epoch_us(e.event_timestamp) + p.window_length <= least(p.starts, p.ends)
            AND (p.default_model IS NULL OR e.model_version = p.default_model
                 OR starts_with(e.model_version, p.default_model || '/')))
    )
)"""
"""The requests that count: the experiment's, and the default model's before its start."""

_OUTCOMES: Final = """, happened AS (
    SELECT row_number() OVER () AS outcome, o.{unit} AS unit, coalesce(o.item_id, '') AS item_id, o.event_type,
           epoch_us(o.event_timestamp) AS moment, {amounts}p.horizon, o.event_type = p.event_type AS of_target
    FROM outcomes o CROSS JOIN parameters p
    WHERE o.quantity > 0 AND o.{unit} IS NOT NULL{types}
), pairs AS (
    SELECT r.request, b.item_id, b.event_type{carried}
    FROM requests r
    JOIN happened b ON r.unit = b.unit AND b.moment > r.moment AND b.moment <= r.closes
    {slots}{closed}{grouped}
){marked}, items AS (
    SELECT request, item_id, min(slot) AS slot, {item_columns}
    FROM {paired} GROUP BY request, item_id{by_type}
), scored AS (
    SELECT request AS scored_request, {request_columns}
    FROM items GROUP BY request
)"""

_SHOWN: Final = """, listed AS (
    SELECT request_id AS listed_request, {columns}
    FROM impressions WHERE request_id IN (SELECT request_id FROM requests) GROUP BY request_id
)"""

_ROWS: Final = """
, request_rows AS (
    SELECT {more}r.unit, r.arm, r.arm AS arm_of_day, r.day, r.moment, r.is_before,
           r.closes <= r.ends AND NOT r.is_before AS counts{columns}
    FROM requests r{joins}
)
"""

_UNITS: Final = """
SELECT grouping(unit) AS of_days, unit, arm_of_day, day,
       arg_min(arm, moment) FILTER (NOT is_before) AS arm, min(arm) <> max(arm) AS several_arms,
       min(moment) FILTER (NOT is_before) AS first_exposure, count(*) FILTER (NOT is_before) AS exposures,
       count(*) FILTER (counts) AS requests{sums}
FROM request_rows
GROUP BY GROUPING SETS ((unit), (arm_of_day, day))
HAVING count(*) FILTER (NOT is_before) > 0{by_day}
ORDER BY of_days, CASE WHEN of_days < 2 THEN unit END, arm_of_day, day
"""

_BY_DAY: Final = """
UNION ALL BY NAME
SELECT 2 AS of_days, unit, day{sums}
FROM request_rows WHERE counts GROUP BY unit, day"""
"""Millions of rows: they are left without an order of their units."""

_EXPLORED: Final = """
, drawn AS (
    SELECT request_id, product(propensity) AS logged, bool_and(propensity > 0.5) AS own
    FROM impressions WHERE propensity < 1 GROUP BY request_id
)
SELECT r.unit, r.arm, coalesce(d.logged, 1.0) AS logged, coalesce(d.own, true) AS own, count(*) AS requests,
       {reward} AS reward
FROM request_rows r LEFT JOIN drawn d ON r.request_id = d.request_id
WHERE counts GROUP BY r.unit, r.arm, d.logged, d.own ORDER BY ALL
"""

ANY_DRAWN: Final = "SELECT position FROM impressions WHERE propensity < 1 LIMIT 1"
"""A row where chance filled any slot of any list."""

_DRAWN_SLOTS: Final = """
SELECT r.arm, i.position, max(i.propensity) AS likeliest
FROM requests r JOIN impressions i ON r.request_id = i.request_id
WHERE i.propensity < 1 AND NOT r.is_before AND r.closes <= r.ends
GROUP BY ALL ORDER BY ALL
"""

_WEIGHTS: Final = """
SELECT arm, model_version, weights, count(*) AS exposures
FROM requests WHERE NOT is_before GROUP BY ALL ORDER BY ALL
"""


def units_sql(unit: str, terms: Sequence[Term], by_day: Sequence[Term] = ()) -> str:
    """Return the SQL of one row a unit (of_days 0), one an arm and day (1), and one a unit and day (2).

    Args:
        unit: user_id or session_id.
        terms: what is summed; each gives the columns `term_<number>:counts` and `term_<number>:before`.
        by_day: some of them that rows a unit and day are asked of, in `term_<number>:counts`; none by default.

    Returns:
        SQL over exposures, impressions, outcomes and parameters. Everything in it comes from closed sets or checked
        patterns, never from a caller's text.
    """
    sums = "".join(
        f', {_sum(name, term, condition)} AS "{name}:{suffix}"'
        for name, term in _named(terms).items()
        for suffix, condition in (("counts", "counts"), ("before", "is_before"))
    )
    daily = "".join(
        f', {_sum(name, term, "counts")} AS "{name}:counts"' for name, term in _named(terms).items() if term in by_day
    )
    added = _BY_DAY.format(sums=daily) if by_day else ""
    return _rows(unit, _named(terms)) + _UNITS.format(sums=sums, by_day=added)


def explored_sql(unit: str, term: Term) -> str:
    """Return the SQL of what requests brought, by the chance with which their lists were drawn.

    Args:
        unit: user_id or session_id.
        term: what is summed.

    Returns:
        SQL of one row a unit, arm and chance: unit, arm, logged (the product of the propensities of its slots), own
        (whether every slot shows the likelier item), requests, reward. Of requests that count, in a fixed order.
    """
    rows = _rows(unit, _named([term]), "r.request_id, ")
    return rows + _EXPLORED.format(reward=_sum("term_0", term, "counts"))


def drawn_slots_sql(unit: str) -> str:
    """Return the SQL of the slots that chance filled: arm, position, likeliest (its largest propensity below 1)."""
    return _REQUESTS.format(unit=unit, columns="") + _DRAWN_SLOTS


def weights_sql(unit: str) -> str:
    """Return the SQL of the versions that answered: arm, model_version, weights, exposures."""
    return _REQUESTS.format(unit=unit, columns="e.model_version, e.weights, ") + _WEIGHTS


def _named(terms: Sequence[Term]) -> dict[str, Term]:
    return {f"term_{number}": term for number, term in enumerate(terms)}


def _rows(unit: str, named: Mapping[str, Term], more: str = "") -> str:
    """Return the SQL of one row a request, with what each term gives, and more columns of the request."""
    outcomes = {name: term for name, term in named.items() if term.source == "outcomes"}
    lists = {name: term for name, term in named.items() if term.source == "impressions"}
    parts = [_REQUESTS.format(unit=unit, columns="row_number() OVER () AS request, ")]
    joins = columns = ""
    if outcomes:
        parts.append(_outcomes(unit, outcomes))
        joins += " LEFT JOIN scored s ON r.request = s.scored_request"
        columns += "".join(f", s.{name}" for name in outcomes)
    if lists:
        counted = ", ".join(f"count(*){_first_slots(term)} AS {name}" for name, term in lists.items())
        parts.append(_SHOWN.format(columns=counted))
        joins += " LEFT JOIN listed l ON r.request_id = l.listed_request"
        columns += "".join(f", l.{name}" for name in lists)
    parts.append(_ROWS.format(more=more, columns=columns, joins=joins))
    return "".join(parts)


def _outcomes(unit: str, terms: dict[str, Term]) -> str:
    used = tuple(terms.values())
    by_event, last, shown = (any(getattr(term, name) for term in used) for name in ("by_event", "last", "shown"))
    amounts = any("quantity" in term.item or "value" in term.item for term in used)
    times = any("moment" in term.item for term in used)
    carried = {
        "delay": "b.moment - r.moment",
        "horizon": "b.horizon",
        "is_target": "(b.of_target AND b.moment - r.moment <= b.horizon)",
    }
    carried |= {"moment": "b.moment"} if times else {}
    carried |= {"quantity": "b.quantity", "value": "b.value"} if amounts else {}
    carried |= {"outcome": "b.outcome", "asked": "r.moment", "request_id": "r.request_id"} if last else {}
    slot = "i.position" if shown else "NULL::BIGINT"
    if by_event:  # of an item in two slots the first one counts, and its outcomes once
        selected = f", min({slot}) AS slot" + "".join(f", any_value({sql}) AS {name}" for name, sql in carried.items())
    else:
        selected = f", {slot} AS slot" + "".join(f", {sql} AS {name}" for name, sql in carried.items())
    by_type = any("event_type" in term.condition for term in used)
    items = {sql: f"item_{number}" for number, sql in enumerate(dict.fromkeys(map(_of_item, used)))}
    return _OUTCOMES.format(
        unit=unit,
        amounts="".join(f"{_fixed(name)} AS {name}, " for name in ("quantity", "value")) if amounts else "",
        types="" if by_type else " AND o.event_type = p.event_type",
        carried=selected,
        slots="LEFT JOIN impressions i ON r.request_id = i.request_id AND b.item_id = i.item_id" if shown else "",
        # Where the latest request counts, one with an open window may be it.
        closed="" if last else " WHERE r.closes <= r.ends",
        grouped=" GROUP BY r.request, b.outcome, b.item_id, b.event_type" if by_event else "",
        marked=_marked(used) if last else "",
        paired="marked" if last else "pairs",
        by_type=", event_type" if by_type else "",
        item_columns=", ".join(f"{sql} AS {name}" for sql, name in items.items()),
        request_columns=", ".join(
            f"{term.request.format(item=items[_of_item(term)])} AS {name}" for name, term in terms.items()
        ),
    )


def _of_item(term: Term) -> str:
    return term.item.format(condition=term.condition)


def _marked(terms: Sequence[Term]) -> str:
    """Mark each outcome's latest request; of equal times the larger request id."""
    order = "ORDER BY asked DESC, request_id DESC"
    columns = {}
    for term in terms:
        if term.last:
            shown = "slot IS NOT NULL" if term.slots is None else f"coalesce(slot <= {term.slots}, false)"
            among = f"PARTITION BY outcome, {shown}" if term.shown else "PARTITION BY outcome"
            name = last_column(shown=term.shown, slots=term.slots)
            columns[name] = f"row_number() OVER ({among} {order}) = 1 AS {name}"
    return f", marked AS (\n    SELECT *, {', '.join(columns.values())} FROM pairs\n)"


def _first_slots(term: Term) -> str:
    return "" if term.slots is None else f" FILTER (position <= {term.slots})"


def _fixed(column: str) -> str:
    """Return an amount as a whole number of millionths; what is no finite number adds nothing."""
    return f"CASE WHEN isfinite(o.{column}) THEN round(o.{column} * 1e6)::BIGINT ELSE 0 END"


def _sum(name: str, term: Term, condition: str) -> str:
    if term.source == "requests":
        return f"(count(*) FILTER ({condition}))::DOUBLE"
    if term.source == "units":
        return f"(count(DISTINCT unit) FILTER ({condition}))::DOUBLE"
    return f"coalesce(sum({name}) FILTER ({condition}), 0)::DOUBLE / {term.scale}"
