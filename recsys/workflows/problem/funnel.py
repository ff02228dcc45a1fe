"""What does a problem's funnel look like, and which of its stages should be modelled? `recsys funnel`."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from recsys.errors import DataError
from recsys.problem.bounds import CONFIDENCE
from recsys.problem.chain import chained_sql
from recsys.problem.counts import Counted, count
from recsys.problem.figures import Reading, reading
from recsys.problem.planner import Advice
from recsys.problem.quality import Dropped, dropped
from recsys.problem.rows import EVENTS, ITEMS, SEEN, USERS, Segments, Span, Stages, span_of, with_items
from recsys.reports.funnel import funnel_page
from recsys.schema import EVENT_TIMESTAMP, EVENT_TYPE, ITEM, USER
from recsys.specs.base import format_duration
from recsys.specs.problem import Problem
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, write_text
from recsys.workflows.problem.funnel_advice import advice, weak_stages
from recsys.workflows.workspace import Workspace

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class PlannedFunnel:
    """A problem's funnel and what follows from it."""

    name: str
    problem: Problem
    stages: Stages
    span: Span
    known_units: int
    whole: Reading
    segments: tuple[Reading, ...]
    """The largest first."""
    by: str | None
    first_by: str
    """The stage with which the segments' funnel begins: the first whose events have items, by a column of items."""
    dropped: tuple[Dropped, ...]
    refused: tuple[str, ...]
    """What did not come in at all, and why."""
    advice: Advice
    page: Path

    def document(self) -> dict[str, Any]:
        """Return it as JSON values, without the page."""
        problem, span, advice = self.problem, self.span, self.advice
        return {
            "problem": self.name,
            "business_issue": problem.business_issue,
            "owners": problem.owners.model_dump(),
            "target": problem.target.model_dump(mode="json"),
            "planning": problem.planning.model_dump(mode="json"),
            "stages": list(self.stages.names),
            "within": "session" if self.stages.window is None else format_duration(self.stages.window),
            "from": span.start.isoformat(),
            "to": span.end.isoformat(),
            "entered_before": span.until.isoformat(),
            "known_units": self.known_units,
            "confidence": CONFIDENCE,
            "funnel": _read(self.whole),
            "by": self.by,
            "segments": [_read(each) for each in self.segments],
            "dropped": [asdict(each) for each in self.dropped],
            "refused": list(self.refused),
            "ml_problem": advice.choice.stage is not None,
            "model_stage": advice.choice.stage,
            "reasons": list(advice.choice.reasons),
            "channels": [asdict(each) for each in advice.channels],
            "weak": [asdict(each) for each in advice.weak],
            "findings": list(advice.findings),
        }


def _read(found: Reading) -> dict[str, Any]:
    return {
        "segment": found.segment,
        "users": found.users,
        "small": found.small,
        "valued": found.valued,
        "stages": [asdict(each) for each in found.stages],
    }


def funnel(
    workspace: Workspace,
    name: str,
    *,
    by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> PlannedFunnel:
    """Read the funnel of a problem off the event table, and plan by it; page and document are kept with other reports.

    Args:
        workspace: the project; its tables were ingested.
        name: the problem.
        by: a column of users or items, to tell the funnel apart by.
        since: the first moment; the problem's `planning.past` before the end by default.
        until: the last; the clock's time by default, which it never passes.

    Raises:
        SpecError: if there is no such problem.
        DataError: if there are no events, the span is too short, or the column does not exist.
    """
    problem = workspace.catalog.problem(name)
    stages = _stages(problem)
    with (
        exclusive(workspace, FEATURES, f"recsys funnel {name}", shared=True),
        tempfile.TemporaryDirectory(prefix="spill-funnel-", dir=workspace.state) as folder,
    ):
        span = _span(workspace, problem, stages, since, until)
        segments = None if by is None else _segments(workspace, by)
        together = _counted(workspace, problem, stages, span, None, Path(folder))
        if not together:
            message = (
                f"problem {name}: no event of {', '.join(stages.names)} from {span.start:%Y-%m-%d} to"
                f" {span.end:%Y-%m-%d}; look elsewhere with --from and --to, or name the stages as the events' types"
            )
            raise DataError(message)
        whole = reading(together[0], stages, span, problem.planning)
        part = stages
        parts: tuple[Reading, ...] = ()
        if segments is not None:
            part = stages if segments.table == USERS else with_items(stages, _with_item(workspace, stages))
            parts = tuple(
                reading(each, part, span, problem.planning, segment=each.segment)
                for each in _counted(workspace, problem, part, span, segments, Path(folder))
            )
        known_units = _rows(workspace, USERS)
        weak = weak_stages(workspace, problem, stages, span, whole, parts, by, known_units)
        planned = PlannedFunnel(
            name=name,
            problem=problem,
            stages=stages,
            span=span,
            known_units=known_units,
            whole=whole,
            segments=tuple(sorted(parts, key=lambda each: (-each.users, str(each.segment)))),
            by=by,
            first_by=part.names[0],
            dropped=dropped(workspace.engine, workspace.events, stages, span),
            refused=_refused(workspace),
            advice=advice(workspace, problem, span, whole, weak, known_units),
            page=_page(workspace, name),
        )
    document = planned.document()
    write_text(planned.page, funnel_page(document))
    write_text(planned.page.with_suffix(".json"), json.dumps(document, ensure_ascii=False))
    return planned


def kept_funnel(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """Return the document of the last `recsys funnel` of a problem in this state folder, or None."""
    found: dict[str, Any] | None = read_written(_page(workspace, name).with_suffix(".json"))
    return found


def _page(workspace: Workspace, name: str) -> Path:
    return workspace.state / "reports" / "problems" / f"{name}.html"


def _stages(problem: Problem) -> Stages:
    if problem.funnel is None:
        return Stages((SEEN, problem.target.event), problem.target.horizon)
    within = problem.funnel.within or problem.target.horizon
    return Stages(problem.funnel.stages, None if within == "session" else within)


def _span(
    workspace: Workspace, problem: Problem, stages: Stages, since: datetime | None, until: datetime | None
) -> Span:
    now = workspace.clock.now()
    end = now if until is None else min(until, now)
    sql = f"select min({EVENT_TIMESTAMP}) as first, max({EVENT_TIMESTAMP}) as last from {EVENTS}"
    (times,) = workspace.engine.query(sql, {EVENTS: workspace.events}).to_pylist()
    if times["first"] is None:
        message = "funnel: no events yet; bring history in with `recsys ingest`"
        raise DataError(message)
    if until is None:
        end = min(end, _midnight(times["last"]) + _DAY)
    start = since or max(end - problem.planning.past, _midnight(times["first"]))
    weeks, settle = problem.planning.covariate_weeks, problem.target.settle_delay
    return span_of(stages, start, end, now, covariate_weeks=weeks, settle=settle)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _counted(
    workspace: Workspace, problem: Problem, stages: Stages, span: Span, segments: Segments | None, folder: Path
) -> list[Counted]:
    chained = folder / f"{'all' if segments is None else 'segments'}.parquet"
    tables = {EVENTS: workspace.events}
    if segments is not None:
        tables[segments.table] = workspace.tables / f"{segments.table}.parquet"
    workspace.engine.write(chained_sql(stages, span, segments), tables, chained)
    return count(workspace.engine, chained, stages, span, measure=problem.target.measure, once=not problem.lists)


def _segments(workspace: Workspace, column: str) -> Segments:
    keys, columns = {USERS: USER, ITEMS: ITEM}, {}
    for table, key in keys.items():
        read = {table: workspace.tables / f"{table}.parquet"}
        columns[table] = [
            each for each in workspace.engine.query(f"select * from {table} limit 0", read).column_names if each != key
        ]
    if column in columns[USERS]:
        return Segments(column, "users")
    if column in columns[ITEMS]:
        return Segments(column, "items")
    message = (
        f"--by {column}: neither users nor items have it; users have {', '.join(columns[USERS])}; items have"
        f" {', '.join(columns[ITEMS])}"
    )
    raise DataError(message)


def _with_item(workspace: Workspace, stages: Stages) -> Sequence[int]:
    sql = f"select {EVENT_TYPE} as stage, count({ITEM}) as named from {EVENTS} group by {EVENT_TYPE}"
    found = {row["stage"]: row["named"] for row in workspace.engine.query(sql, {EVENTS: workspace.events}).to_pylist()}
    found[SEEN] = sum(found.values())
    return [found.get(stage, 0) for stage in stages.names]


def _rows(workspace: Workspace, table: str) -> int:
    read = {table: workspace.tables / f"{table}.parquet"}
    return int(workspace.engine.query(f"select count(*) as rows from {table}", read)["rows"][0].as_py())


def _refused(workspace: Workspace) -> tuple[str, ...]:
    """Return what the last ingest left out of the events."""
    known: Mapping[str, Any] = read_written(workspace.tables / "manifest.json") or {}
    return tuple(
        f"{row['rows']}: {row['dropped']:,} of {row['read']:,}: {row['why']}"
        for row in known.get("counts", [])
        if row["dropped"]
    )
