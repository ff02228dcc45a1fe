"""How do lists that were sent get into the log, and how does what was recorded leave: exported, pruned, forgotten?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, confirm, read_window, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace

log_app = typer.Typer(help="The log of exposures and outcomes.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(log_app, name="log")

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@log_app.command("sent")
def log_sent(
    folder: Annotated[Path, typer.Argument(help="Of a batch, such as .recsys/batch/home/date=2017-12-04.")],
    at: Annotated[Optional[str], typer.Option("--at", help="When it was sent; the clock's time by default.")] = None,
    only: Annotated[
        Optional[Path],
        typer.Option(
            "--only",
            help="Whom it was really sent to: a text with one id a line, or a .parquet with user_id; all by default.",
        ),
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Log the lists of a batch, or the contacts of a campaign, as exposures once they are sent; again logs no more."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.batches.sent import log_sent as log

        with printing.Bar() as bar:
            done = log(workspace, folder, None if at is None else read_moment(at), only, bar.update)
        show(printing.sent_document(done, workspace), as_json, printing.sent(done, workspace))

    run_in(env, run)


@log_app.command("export")
def log_export(
    output: Annotated[Path, typer.Option("--output", help="A folder; a file a table and day is written below it.")],
    start: Annotated[
        Optional[str], typer.Option("--from", help="The first UTC day, such as 2017-12-04; the oldest by default.")
    ] = None,
    end: Annotated[
        Optional[str], typer.Option("--to", help="The day after the last one; all there is by default.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Write exposures, impressions and outcomes as parquet, a file a day; again replaces the days that are logged."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.experiments.event_log import export_log

        first, last = read_window(workspace, start, end)
        with printing.Bar() as bar:
            done = export_log(workspace, output, first, last, bar.update)
        show(printing.exported_document(done), as_json, printing.exported(done))

    run_in(env, run)


@log_app.command("prune")
def log_prune(
    before: Annotated[
        Optional[str],
        typer.Option("--before", help="The first UTC day that stays; by the environment's retention by default."),
    ] = None,
    yes: Yes = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Delete exposures, impressions and outcomes that are older than the retention; the ledger stays."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.experiments.event_log import prune_before, prune_log

        moment = prune_before(workspace, None if before is None else read_moment(before))
        confirm(f"Delete everything before {moment:%Y-%m-%d} from the event log?", yes)
        with printing.Bar() as bar:
            done = prune_log(workspace, moment, bar.update)
        show(printing.pruned_document(done), as_json, printing.pruned(done))

    run_in(env, run)


@app.command()
def forget(
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="The ids of one or more users.")],
    yes: Yes = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Erase users from log, online store, tables, training sets and batches; the ledger keeps a digest and counts."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.data.forget import forget as erase

        count = len(set(users))
        confirm(f"Erase {count} user{'s' if count > 1 else ''} everywhere? This cannot be undone.", yes)
        done = erase(workspace, users)
        show(printing.forgotten_document(done), as_json, printing.forgotten(done))

    run_in(env, run)
