"""How is an experiment lived through, judged and acted on?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from recsys.cli.app import Env, Json, app, read_window, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace

experiment_app = typer.Typer(
    help="Who gets which arm, and where experiments are in their lives.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(experiment_app, name="experiment")


@app.command()
def replay(
    experiment: Annotated[str, typer.Argument(help="registry/experiments/<experiment>.yaml")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Live an experiment through on real history: its weeks' requests, hash-routed, logged, with what was bought."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.experiments.replay import replay as live_through

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
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="registry/experiments/<experiment>.yaml, or audiences/<audience>.yaml: its campaigns.",
        ),
    ],
    since: Annotated[
        Optional[str],
        typer.Option(
            "--from",
            help="Look at requests from this date or ISO time on; such a look has no verdict. Of an audience, at lists"
            " that were made from then on.",
        ),
    ] = None,
    until: Annotated[
        Optional[str], typer.Option("--to", help="And before this one; their outcomes count as always.")
    ] = None,
    report: Annotated[
        Optional[Path],
        typer.Option(
            "--report",
            help="The folder of the page and its JSON; reports/experiments (or campaigns) of the state by default.",
        ),
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Report an experiment's health, effects with intervals and verdict, or what an audience's campaigns brought."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.decision.promote import overrides

        first, last = read_window(workspace, since, until)
        if name in workspace.catalog.audiences:
            from recsys.workflows.batches.evaluate_campaigns import evaluate_campaigns

            looked = evaluate_campaigns(workspace, name, since=first, until=last, folder=report)
            told = printing.campaigns_evaluated(looked, workspace.shown(looked.page))
            found = overrides(workspace, looked.model_versions)
            document, told = printing.with_overrides(looked.document, told, found)
            show(document, as_json, told)
            return
        from recsys.workflows.experiments.evaluate import evaluate as judge

        done = judge(workspace, name, since=first, until=last, folder=report)
        overridden = overrides(workspace, [arm["model_version"] for arm in done.document["analysis"]["arms"]])
        said = printing.evaluation(done, workspace.shown(done.report.page))
        document, told = printing.with_overrides(done.document, said, overridden)
        show(document, as_json, told)

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
        bool, typer.Option("--override", help="Whatever is refused: recorded, and shown with the version from then on.")
    ] = False,
    reason: Annotated[
        Optional[str], typer.Option("--reason", help="Why it is overridden; goes with --override.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Make a version the champion: on an experiment's verdict, or as a model's first."""
    if (experiment is None) == (model_version is None):
        message = "name an experiment, or a first champion with --model-version"
        raise typer.BadParameter(message)
    if override != bool(reason and reason.strip()):
        message = "--override and --reason go together: say why what is refused shall be done"
        raise typer.BadParameter(message)

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.decision import promote as promoting

        if experiment is not None:
            done = promoting.promote_experiment(workspace, experiment, reason)
        else:
            done = promoting.promote_first(workspace, str(model_version), reason)
        show(printing.promotion_document(done), as_json, printing.promotion(done))

    run_in(env, run)


@experiment_app.command()
def status(
    experiment: Annotated[
        Optional[str], typer.Argument(help="One of them, with its epochs and history; all by default.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Say in which stage experiments are (draft, running, stopped, decided), and who brought them there."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.experiments.status import experiment_status

        found = experiment_status(workspace, experiment)
        show(printing.experiment_status_document(found), as_json, printing.experiment_status(found))

    run_in(env, run)


@experiment_app.command()
def assign(
    experiment: Annotated[str, typer.Argument(help="registry/experiments/<experiment>.yaml")],
    ids: Annotated[Path, typer.Argument(help="A parquet file with a text column of ids.")],
    output: Annotated[Path, typer.Option("--output", help="The parquet file with a row an id, in their order.")],
    column: Annotated[
        Optional[str], typer.Option("--column", help="The column of the ids; the experiment's unit by default.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Write the arm of every id in a file, as the experiment is declared; files of any size."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.experiments.assignments import assign_file

        with printing.Bar() as bar:
            done = assign_file(workspace, experiment, ids, output, column, bar.update)
        show(printing.assigned_document(done), as_json, printing.assigned(done))

    run_in(env, run)


@experiment_app.command()
def export(
    experiments: Annotated[
        Optional[list[str]], typer.Argument(help="Those that it shall hold; all that run now by default.")
    ] = None,
    form: Annotated[
        Literal["growthbook"], typer.Option("--format", help="What GrowthBook's API would answer an SDK.")
    ] = "growthbook",
    output: Annotated[
        Optional[Path], typer.Option("--output", help="A file, written by rename; stdout by default.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Write a payload by which SDKs on the web and in apps compute the same arms; see docs/experiments.md."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.experiments.assignments import export_growthbook

        done = {"growthbook": export_growthbook}[form](workspace, experiments or (), output)
        if output is None:
            show(done.document, True, "")
            return
        held = {"path": str(output), "experiments": list(done.experiments), "left_out": list(done.left_out)}
        show(held, as_json, printing.exported_growthbook(done, output))

    run_in(env, run)
