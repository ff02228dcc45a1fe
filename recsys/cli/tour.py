"""What does it all look like, once, on real data?"""

from typing import TYPE_CHECKING

import typer

from recsys.cli.app import Env, Json, app, run_in, show, tell

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


@app.command()
def demo(env: Env = "local", as_json: Json = False) -> None:
    """Run the whole life cycle on real shop data, each step named by the command that does it alone."""

    def run(workspace: "Workspace") -> None:
        from recsys.demo import demo as live

        stages = live(workspace, (lambda text: typer.echo(text, err=True)) if as_json else tell)
        if as_json:
            show({"stages": stages}, as_json, "")

    run_in(env, run)
