"""How is it asked whether an experiment is large enough?"""

from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.app import Env, Json, run_in, show
from recsys.cli.experiments import experiment_app

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


@experiment_app.command()
def power(
    experiment: Annotated[str, typer.Argument(help="registry/experiments/<experiment>.yaml")],
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Say how many units and days an experiment needs, by what was logged before its start, and what it sees now."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.experiments.power import power as judge

        found = judge(workspace, experiment)
        show(found.document(), as_json, printing.power(found))

    run_in(env, run)
