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
        show(document, as_json, printing.trained(trained))
        if not trained.report["gate"]["passed"]:
            raise typer.Exit(1)

    run_in(env, run)


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
        from recsys.workflows import promote as promoting

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
        from recsys.workflows import promote as promoting

        entries = promoting.history(workspace, model)
        show(printing.history_document(entries), as_json, printing.history(model, entries))

    run_in(env, run)
