"""How does the shop's data become features?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace

dataset_app = typer.Typer(help="Training sets, as known at a moment.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(dataset_app, name="dataset")
features_app = typer.Typer(help="Feature tables and the online store.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")


@app.command()
def ingest(env: Env = "local", as_json: Json = False) -> None:
    """Bring the environment's shop data in: events, items and users as tables."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys import printing
        from recsys.workflows.data.ingest import ingest as bring_in

        done = bring_in(workspace)
        show(asdict(done), as_json, printing.ingestion(done, workspace))

    run_in(env, run)


@features_app.command("build")
def features_build(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make all tables from the beginning, not only the periods that are due.")
    ] = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Grow the feature tables and bring the online store up to the environment's clock (after `feast apply`)."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys import printing
        from recsys.workflows.features.build import build_tables, materialize

        with printing.Bar() as bar:
            tables = build_tables(workspace, lambda what: bar.say(f"table {what}"), rebuild=rebuild)
            online = materialize(workspace, bar.say)
        document = {
            "tables": [asdict(table) for table in tables],
            "materialized_until": online.until.isoformat(),
            "reused": online.reused,
            "item_models": [asdict(model) for model in online.item_models],
        }
        show(document, as_json, printing.features(tables, online, workspace))

    run_in(env, run)


Version = Annotated[str, typer.Option("--model-version", help="Such as basket/v2: registry/models/basket/v2.yaml.")]
KnownAt = Annotated[
    Optional[str],
    typer.Option("--known-at", help="As it would have been built then; the clock's time by default."),
]


@dataset_app.command("build")
def dataset_build(model_version: Version, known_at: KnownAt = None, env: Env = "local", as_json: Json = False) -> None:
    """Build what a model version learns from and is judged on, checked for leaks, and keep it."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.modeling.dataset import build_dataset

        moment = None if known_at is None else read_moment(known_at)
        with printing.Bar() as bar:
            built = build_dataset(workspace, model_version, moment, bar.update)
        show(
            {"folder": workspace.shown(built.dataset.folder), "reused": built.reused, **built.dataset.document},
            as_json,
            printing.dataset(built, workspace),
        )

    run_in(env, run)


@dataset_app.command("check")
def dataset_check(model_version: Version, known_at: KnownAt = None, env: Env = "local", as_json: Json = False) -> None:
    """Derive every row's clocks anew and say what knows more than its decision time did; exit 1 if any does."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.modeling.dataset import check_dataset

        moment = None if known_at is None else read_moment(known_at)
        with printing.Bar() as bar:
            found = check_dataset(workspace, model_version, moment, bar.update)
        document = {
            "digest": found.dataset.digest,
            "intact": found.intact,
            "rows": found.rows,
            "unchecked": list(found.unchecked),
            "violations": [asdict(violation) for violation in found.violations],
        }
        show(document, as_json, printing.inspection(found))
        if found.violations or not found.intact:
            raise typer.Exit(1)

    run_in(env, run)
