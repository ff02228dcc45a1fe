"""Which problem is worth a model?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, read_window, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


@app.command()
def funnel(
    problem: Annotated[str, typer.Argument(help="registry/problems/<problem>.yaml")],
    by: Annotated[
        Optional[str], typer.Option("--by", help="A column of users or items to tell the funnel apart by.")
    ] = None,
    since: Annotated[
        Optional[str],
        typer.Option("--from", help="The first day; the problem's planning.past before the end by default."),
    ] = None,
    until: Annotated[
        Optional[str], typer.Option("--to", help="The end, not included; the clock's time by default.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Show a problem's funnel, what its stages are worth and need, and which one to model, if any."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.problem.funnel import funnel as read

        first, last = read_window(workspace, since, until)
        found = read(workspace, problem, by=by, since=first, until=last)
        page = workspace.shown(found.page)
        show({**found.document(), "page": page}, as_json, printing.funnel(found, page))

    run_in(env, run)
