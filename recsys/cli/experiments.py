"""How is an experiment lived through, judged and acted on?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


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
        show(document, as_json, printing.replayed(done))

    run_in(env, run)


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
        show(done.document, as_json, printing.evaluation(done))

    run_in(env, run)


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
        show(printing.promotion_document(done), as_json, printing.promotion(done))

    run_in(env, run)
