"""How does the shop's data become features?"""

from typing import TYPE_CHECKING

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace

features_app = typer.Typer(help="Feature tables and the online store.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")


@app.command()
def ingest(env: Env = "local", as_json: Json = False) -> None:
    """Bring the environment's shop data in: events, items and users as tables."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys import printing
        from recsys.workflows.ingest import ingest as bring_in

        done = bring_in(workspace)
        show(asdict(done), as_json, printing.ingestion(done, workspace))

    run_in(env, run)


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
        show(document, as_json, printing.features(tables, until, kept, workspace))

    run_in(env, run)
