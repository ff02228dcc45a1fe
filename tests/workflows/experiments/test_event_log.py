"""Does the log leave its database whole, by days, and only as far as nobody needs it?"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from recsys import schema
from recsys.adapters.sql_event_log import SqlEventArchive
from recsys.cli import app
from recsys.errors import DataError, ExperimentError, SpecError, StoreError
from recsys.ports import Exposure, LogRows, ShownItem
from recsys.workflows.experiments.evaluate import FREEZE
from recsys.workflows.experiments.event_log import TABLES, export_log, prune_before, prune_log
from recsys.workflows.workspace import Workspace
from tests.workflows.files_project import FilesProject

DAY = timedelta(days=1)
FIRST = datetime(2017, 1, 1, tzinfo=UTC)
"""Long before the shipped experiment's weeks."""
NOW = "2018-06-03"


def exposure(number: int) -> Exposure:
    """Return one of two slots; three a day."""
    at = FIRST + timedelta(hours=8 * number)
    items = (ShownItem("i0", 1, 0.5), ShownItem("i1", 2, 0.25))
    name = f"r{number:02d}"
    return Exposure(name, "home", f"u{number % 3}", None, None, None, False, None, None, None, at, "", {}, items)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Give a project whose log holds five days: exposures at each, outcomes at the first two."""
    project = FilesProject(tmp_path)
    project.declare(clock={"replay_from": NOW})
    opened = project.open()
    opened.event_log.write_exposures(exposure(number) for number in range(15))
    rows = [
        {
            schema.EVENT_ID: f"e{number}",
            schema.EVENT_TYPE: "click",
            schema.USER: "u1",
            schema.EVENT_TIMESTAMP: FIRST + number * DAY,
            schema.CREATED_TIMESTAMP: FIRST + number * DAY,
        }
        for number in range(2)
    ]
    opened.event_log.write_outcomes(pa.Table.from_pylist(rows, schema=schema.EVENTS))
    yield opened
    for store in (opened.event_log, opened.event_archive, opened.ledger):
        store.close()  # type: ignore[attr-defined]


def read(output: Path, table: str) -> pa.Table:
    """Return all exported rows of a table, in the order of the days."""
    files = sorted((output / table).rglob("*.parquet"))
    return pa.concat_tables([TABLES[table].empty_table(), *(pq.ParquetFile(file).read() for file in files)])


def files_of(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


class TestExport:
    """By whole days, again and again."""

    def test_everything_comes_out_as_it_is_in_the_log(self, workspace: Workspace, tmp_path: Path) -> None:
        output = tmp_path / "out"
        done = export_log(workspace, output)
        assert done.rows == LogRows(exposures=15, impressions=30, outcomes=2)
        assert (done.start, done.end, done.files) == (FIRST, FIRST + 5 * DAY, 5 + 5 + 2)
        exposures = read(output, "exposures")
        assert exposures.select(schema.EXPOSURES.names).equals(
            workspace.event_log.exposures("home", FIRST, FIRST + 9 * DAY)
        )
        assert read(output, "impressions").equals(workspace.event_log.impressions("home", FIRST, FIRST + 9 * DAY))
        assert read(output, "outcomes").equals(workspace.event_log.outcomes("click", FIRST, FIRST + 9 * DAY))
        assert (output / "outcomes" / "date=2017-01-02" / "part-00000.parquet").exists()

    def test_a_window_is_whole_days_and_its_end_is_outside(self, workspace: Workspace, tmp_path: Path) -> None:
        done = export_log(workspace, tmp_path / "out", FIRST + DAY, FIRST + 3 * DAY)
        assert done.rows == LogRows(exposures=6, impressions=12, outcomes=1)
        assert read(tmp_path / "out", "exposures")[schema.REQUEST_ID].to_pylist() == [f"r{n:02d}" for n in range(3, 9)]
        with pytest.raises(DataError, match="whole UTC days"):
            export_log(workspace, tmp_path / "out", FIRST + timedelta(hours=1))
        with pytest.raises(DataError, match="comes after the last"):
            export_log(workspace, tmp_path / "out", FIRST + DAY, FIRST)

    def test_a_second_run_changes_nothing(self, workspace: Workspace, tmp_path: Path) -> None:
        export_log(workspace, tmp_path / "out")
        before = files_of(tmp_path / "out")
        export_log(workspace, tmp_path / "out")
        assert files_of(tmp_path / "out") == before

    def test_a_run_that_fails_on_the_way_is_completed_by_another(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        export_log(workspace, tmp_path / "whole")
        real = SqlEventArchive.scan

        def scan(self: SqlEventArchive, table: str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
            yield from real(self, table, start, end)
            if (table, start) == ("impressions", FIRST + 2 * DAY):
                message = "event log: gone"
                raise StoreError(message)

        monkeypatch.setattr(SqlEventArchive, "scan", scan)
        with pytest.raises(StoreError, match="gone"):
            export_log(workspace, tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.partial"))
        assert not (tmp_path / "out" / "impressions" / "date=2017-01-03" / "part-00000.parquet").exists()
        left = tmp_path / "out" / "outcomes" / "date=2017-01-01" / ".part-00000.parquet.1.partial"
        left.write_text("of a killed run")
        monkeypatch.undo()
        export_log(workspace, tmp_path / "out")
        assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")

    def test_an_empty_log_gives_no_files(self, tmp_path: Path) -> None:
        opened = FilesProject(tmp_path).open()
        done = export_log(opened, tmp_path / "out", FIRST, FIRST + 90 * DAY)
        assert (done.rows, done.files) == (LogRows(), 0)
        opened.event_archive.close()  # type: ignore[attr-defined]


class TestPrune:
    """As far as the retention says, and no further than experiments allow."""

    def test_the_retention_says_how_far(self, workspace: Workspace, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="retention is not declared"):
            prune_before(workspace)
        project = FilesProject.__new__(FilesProject)
        project.root = tmp_path
        project.declare(retention="516d")
        assert prune_before(project.open()) == FIRST + 2 * DAY

    def test_what_is_older_is_gone_and_stays_exported(self, workspace: Workspace, tmp_path: Path) -> None:
        export_log(workspace, tmp_path / "out")
        before = files_of(tmp_path / "out")
        done = prune_log(workspace, FIRST + 2 * DAY)
        assert done.rows == LogRows(exposures=6, impressions=12, outcomes=2)
        assert prune_log(workspace, FIRST + 2 * DAY).rows == LogRows()
        left = workspace.event_log.exposures("home", FIRST, FIRST + 9 * DAY)
        assert left[schema.REQUEST_ID].to_pylist() == [f"r{n:02d}" for n in range(6, 15)]
        export_log(workspace, tmp_path / "out")
        assert files_of(tmp_path / "out") == before

    def test_only_whole_days_leave(self, workspace: Workspace) -> None:
        with pytest.raises(DataError, match="whole UTC days"):
            prune_log(workspace, FIRST + timedelta(hours=1))

    def test_an_experiment_keeps_what_it_needs_until_its_report_is_frozen(self, workspace: Workspace) -> None:
        experiment = workspace.catalog.experiments["home_ranker"]
        since = experiment.plan.start - timedelta(weeks=experiment.metrics.covariate_weeks)
        assert prune_log(workspace, since).rows.exposures == 15
        with pytest.raises(ExperimentError, match=f"home_ranker has no frozen report .* since {since:%Y-%m-%d}"):
            prune_log(workspace, since + DAY)
        workspace.ledger.append(
            transaction="t",
            state="done",
            action=FREEZE,
            subject="home_ranker",
            payload={},
            author="ada",
            at=FIRST,
        )
        assert prune_log(workspace, since + DAY).rows == LogRows()
        assert len(workspace.ledger.entries()) == 1


def test_the_commands_print_counts_and_ask_before_they_delete(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    told = run(app, ["log", "export", "--from", "2017-01-01", "--to", "2017-01-02", "--output", "out", "--json"])
    assert json.loads(told.stdout)["rows"] == {"exposures": 3, "impressions": 6, "outcomes": 1}
    assert "exposures" in run(app, ["log", "export", "--output", "out"]).stdout
    refused = run(app, ["log", "prune", "--before", "2017-01-02"])
    assert refused.exit_code == 1
    assert "say --yes" in refused.stderr
    assert workspace.event_log.exposures("home", FIRST, FIRST + DAY).num_rows == 3
    told = run(app, ["log", "prune", "--before", "2017-01-02", "--yes", "--json"])
    assert json.loads(told.stdout) == {
        "before": "2017-01-02T00:00:00+00:00",
        "rows": {"exposures": 3, "impressions": 6, "outcomes": 1},
        "campaigns": 0,
    }
    assert "the ledger stays" in run(app, ["log", "prune", "--before", "2017-01-02", "--yes"]).stdout
