"""How do versions of a model come to be, and who serves?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


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
        from recsys.workflows.modeling.train import train as fit

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
            "page": workspace.shown(trained.page),
            "report": trained.report,
        }
        show(document, as_json, printing.trained(trained, workspace))
        if not trained.report["gate"]["passed"]:
            raise typer.Exit(1)

    run_in(env, run)


@app.command()
def tune(
    model_version: Annotated[
        str, typer.Option("--model-version", help="Such as basket/v2: registry/models/basket/v2.yaml.")
    ],
    trials: Annotated[
        int, typer.Option("--trials", min=2, help="So many trials in all; the first is as declared.")
    ] = 20,
    named: Annotated[
        Optional[str],
        typer.Option("--as", help="Name of the new version, such as v4; the next free number by default."),
    ] = None,
    known_at: Annotated[
        Optional[str],
        typer.Option("--known-at", help="Use nothing known later than this; the clock's time by default."),
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Search the algorithm's settings on the validation weeks, and write the best as a new version for review."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.modeling.tune import tune as search

        moment = None if known_at is None else read_moment(known_at)
        try:
            with printing.Bar() as bar:
                tuned = search(workspace, model_version, trials, named, moment, bar.update)
        except KeyboardInterrupt:
            typer.echo("interrupted: finished trials are kept; the same command goes on with them", err=True)
            raise
        show(printing.tuned_document(tuned, workspace), as_json, printing.tuned(tuned, workspace))

    run_in(env, run)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A trained version, such as basket/v1; its candidates are ranked.")],
    second: Annotated[str, typer.Argument(help="Another one of the same problem, such as basket/v2.")],
    known_at: Annotated[
        Optional[str],
        typer.Option("--known-at", help="Test weeks as known then; the clock's time by default."),
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Judge two trained versions on the same requests, which neither learned from, with paired intervals."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.modeling.compare import compare as pair

        moment = None if known_at is None else read_moment(known_at)
        with printing.Bar() as bar:
            compared = pair(workspace, first, second, moment, bar.update)
        show(compared.document, as_json, printing.compared(compared))

    run_in(env, run)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="A registered model, such as basket.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in words; on record for good.")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Give a model the champion back that it had before."""
    if not reason.strip():
        raise typer.BadParameter("say why: it is on record for good", param_hint="--reason")  # noqa: TRY003, EM101

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.decision import promote as promoting

        done = promoting.rollback(workspace, model, reason)
        show(printing.promotion_document(done), as_json, printing.promotion(done))

    run_in(env, run)


@app.command()
def accept(
    model: Annotated[str, typer.Argument(help="A registered model, such as basket.")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Record a champion alias that was moved outside recsys; until then the recorded champion is served."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.decision import promote as promoting

        done = promoting.accept(workspace, model)
        show(printing.promotion_document(done), as_json, printing.promotion(done))

    run_in(env, run)


@app.command()
def history(
    model: Annotated[str, typer.Argument(help="A registered model, such as basket.")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Show who moved a model's aliases, when, and on what evidence."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.decision import promote as promoting

        entries = promoting.history(workspace, model)
        show(printing.history_document(entries), as_json, printing.history(model, entries))

    run_in(env, run)
