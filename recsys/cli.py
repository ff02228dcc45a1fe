"""What can be done from the command line? Parse, call one workflow, print.

Only typer is imported at the top; each command imports what it uses.
"""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys.workflows.workspace import Workspace

app = typer.Typer(
    name="recsys",
    help="The life cycle of a shop recommender: features, models, lists, experiments, verdicts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
features_app = typer.Typer(help="Feature tables and the online store.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")

Env = Annotated[str, typer.Option("--env", help="A file under registry/environments/.", envvar="RECSYS_ENV")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def _say_version(asked: bool) -> None:
    if asked:
        import recsys

        typer.echo(recsys.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Declare under feature_repo/ and registry/, then train, serve, measure and promote."""


@app.command()
def validate(env: Env = "local", as_json: Json = False) -> None:
    """Check every declaration and every reference, and report all findings at once."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys.workflows.validate import validate as check

        found = asdict(check(workspace))
        _out(found, as_json, "valid: " + ", ".join(f"{count} {kind}" for kind, count in found.items()))

    _run(env, run)


@app.command()
def ingest(env: Env = "local", as_json: Json = False) -> None:
    """Bring the environment's shop data in: events, items and users as tables."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys import printing
        from recsys.workflows.ingest import ingest as bring_in

        done = bring_in(workspace)
        _out(asdict(done), as_json, printing.ingestion(done, workspace))

    _run(env, run)


@features_app.command("build")
def features_build(env: Env = "local", as_json: Json = False) -> None:
    """Build the feature tables and bring the online store up to the environment's clock (after `feast apply`)."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys import printing
        from recsys.workflows.features import build_tables, materialize

        with printing.Bar() as bar:
            tables = build_tables(workspace, lambda name: bar.say(f"table {name}"))
            bar.say("materialize")
            until, kept = materialize(workspace)
        document = {
            "tables": [asdict(table) for table in tables],
            "materialized_until": until.isoformat(),
            "reused": kept,
        }
        _out(document, as_json, printing.features(tables, until, kept, workspace))

    _run(env, run)


@app.command()
def train(
    model_version: Annotated[
        str, typer.Option("--model-version", help="Such as basket/v2: registry/models/basket/v2.yaml.")
    ],
    known_at: Annotated[
        Optional[str],
        typer.Option("--known-at", help="Use nothing known later than this; the clock's time by default."),
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Fit a model version, evaluate it on past weeks, put it through its gate and register it."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.train import train as fit

        moment = None if known_at is None else read_moment(known_at)
        with printing.Bar() as bar:
            trained = fit(workspace, model_version, moment, bar.update)
        document = {
            "weights": {
                "model": trained.weights.model,
                "number": trained.weights.number,
                "version": trained.weights.version,
            },
            "reused": trained.reused,
            "in_service": trained.in_service,
            "refreshed": trained.refreshed,
            "report": trained.report,
        }
        _out(document, as_json, printing.trained(trained))
        if not trained.report["gate"]["passed"]:
            raise typer.Exit(1)

    _run(env, run)


@app.command("serve-batch")
def serve_batch(
    placement: Annotated[str, typer.Argument(help="registry/placements/<placement>.yaml")],
    date: Annotated[
        Optional[str], typer.Option("--date", help="The lists of this moment; the clock's time by default.")
    ] = None,
    out: Annotated[Optional[str], typer.Option("--out", help="A folder; <state>/batch/<placement> by default.")] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Write every known user's list, the one a request at this moment would get, to parquet."""

    def run(workspace: "Workspace") -> None:
        from pathlib import Path

        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.serve_batch import serve_batch as write

        moment = None if date is None else read_moment(date)
        with printing.Bar() as bar:
            done = write(
                workspace, placement, moment, Path(out) if out else None, lambda n, total: bar.update("lists", n, total)
            )
        document = {
            "placement": done.placement,
            "at": done.at.isoformat(),
            "folder": workspace.shown(done.folder),
            "units": done.units,
            "rows": done.rows,
            "answered_by": dict(done.answered_by),
            "reused": done.reused,
        }
        _out(document, as_json, printing.batch(done, workspace))

    _run(env, run)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    env: Env = "local",
) -> None:
    """Answer requests over HTTP: POST /v1/recommend, GET /healthz, /readyz, /docs; follows promotions by itself."""

    def run(workspace: "Workspace") -> None:
        from recsys.web.server import run_server

        run_server(workspace, host, port)

    _run(env, run)


@app.command()
def replay(
    experiment: Annotated[str, typer.Argument(help="registry/experiments/<experiment>.yaml")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Live an experiment through on real history: its weeks' requests, hash-routed, logged, with what was bought."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.replay import replay as live_through

        with printing.Bar() as bar:
            done = live_through(workspace, experiment, bar.update)
        document = {
            "experiment": done.experiment,
            "steps": done.steps,
            "exposures": done.exposures,
            "outcomes": done.outcomes,
            "fallbacks": done.fallbacks,
            "until": done.until.isoformat(),
            "reused": done.reused,
        }
        _out(document, as_json, printing.replayed(done))

    _run(env, run)


@app.command()
def evaluate(
    experiment: Annotated[str, typer.Argument(help="registry/experiments/<experiment>.yaml")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Report an experiment's health, effects with intervals, and the verdict that follows."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.evaluate import evaluate as report

        done = report(workspace, experiment)
        _out(done.document, as_json, printing.evaluation(done))

    _run(env, run)


@app.command()
def promote(
    experiment: Annotated[
        Optional[str], typer.Argument(help="An experiment with a frozen report that says SHIP.")
    ] = None,
    model_version: Annotated[
        Optional[str], typer.Option("--model-version", help="A first champion, for a model that has none.")
    ] = None,
    override: Annotated[
        Optional[str],
        typer.Option("--override", help="Why weights that failed their gate shall be served all the same."),
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Make a version the champion: on an experiment's verdict, or as a model's first."""
    if (experiment is None) == (model_version is None):
        message = "name an experiment, or a first champion with --model-version"
        raise typer.BadParameter(message)

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows import promote as promoting

        if experiment is not None:
            done = promoting.promote_experiment(workspace, experiment)
        else:
            done = promoting.promote_first(workspace, str(model_version), override)
        _out(printing.promotion_document(done), as_json, printing.promotion(done))

    _run(env, run)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="A registered model, such as basket.")],
    reason: Annotated[Optional[str], typer.Option("--reason", help="Kept with the record.")] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Give a model the champion back that it had before."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows import promote as promoting

        done = promoting.rollback(workspace, model, reason)
        _out(printing.promotion_document(done), as_json, printing.promotion(done))

    _run(env, run)


@app.command()
def accept(
    model: Annotated[str, typer.Argument(help="A registered model, such as basket.")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Record a champion alias that was moved outside recsys; until then the recorded champion is served."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows import promote as promoting

        done = promoting.accept(workspace, model)
        _out(printing.promotion_document(done), as_json, printing.promotion(done))

    _run(env, run)


@app.command()
def history(
    model: Annotated[str, typer.Argument(help="A registered model, such as basket.")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Show who moved a model's aliases, when, and on what evidence."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows import promote as promoting

        entries = promoting.history(workspace, model)
        _out(printing.history_document(entries), as_json, printing.history(model, entries))

    _run(env, run)


@app.command()
def demo(env: Env = "local", as_json: Json = False) -> None:
    """Run the whole life cycle on real shop data, each step named by the command that does it alone."""

    def run(workspace: "Workspace") -> None:
        from recsys.demo import demo as live

        stages = live(workspace, (lambda text: typer.echo(text, err=True)) if as_json else typer.echo)
        if as_json:
            _out({"stages": stages}, as_json, "")

    _run(env, run)


@app.command()
def plan(env: Env = "local", as_json: Json = False) -> None:
    """Show how registry/ and feature_repo/ differ from what was applied, whom that hits, and what forbids it."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.errors import SpecError
        from recsys.workflows.plan import plan as compare

        made = compare(workspace)
        _out(printing.plan_document(made), as_json, printing.plan(made))
        if made.refused:
            raise SpecError(made.refused)

    _run(env, run)


@app.command()
def apply(
    plan_digest: Annotated[
        Optional[str], typer.Option("--plan", help="Apply only if the plan still has this digest.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Make the differences so, and record them: Feast's registry, then the ledger; nothing if one is refused."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.plan import apply as carry_out

        done = carry_out(workspace, plan_digest)
        _out(
            printing.plan_document(done.plan, done.transaction),
            as_json,
            printing.applied(done.plan, done.transaction),
        )

    _run(env, run)


def main() -> None:
    """Run the command line; a refusal or failure is one line on stderr and exit code 1."""
    from recsys.errors import RecsysError

    try:
        app()
    except RecsysError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        # Of a command's own files; what libraries raise is converted where they are called.
        typer.echo(f"error: {_file_failure(error)}", err=True)
        sys.exit(1)


def _file_failure(error: OSError) -> str:
    import errno

    what = f"{error.filename or 'a file of the state folder'}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{what}; free disk space and run this again"
    return f"{what}; check that this user may read and write there"


def _run(env: str, command: "Callable[[Workspace], None]") -> None:
    from recsys.wiring import open_workspace

    command(open_workspace(env))


def _out(document: Any, as_json: bool, text: str) -> None:  # noqa: ANN401 - any JSON value
    typer.echo(json.dumps(document, indent=2, default=str) if as_json else text)
