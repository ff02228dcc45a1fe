"""Is what serves still healthy?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.decision.alerts import Alert
    from recsys.workflows.workspace import Workspace

Since = Annotated[Optional[str], typer.Option("--from", help="Requests from this date or ISO time on.")]
Until = Annotated[Optional[str], typer.Option("--to", help="And before this one; the clock's time by default.")]


@app.command()
def skew(
    name: Annotated[
        Optional[str], typer.Argument(help="An experiment, a model (basket) or a version (basket/v2); all by default.")
    ] = None,
    since: Since = None,
    until: Until = None,
    sample: Annotated[
        Optional[int], typer.Option("--sample", min=1, help="Requests at most; as the monitor declares by default.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Compare the logged features of sampled requests with the offline tables, and name each cause; 3 on an alert."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.skew import document
        from recsys.workflows.skew import skew as compare

        first, last = (None if text is None else read_moment(text) for text in (since, until))
        with printing.Bar() as bar:
            done = compare(workspace, name, since=first, until=last, sample=sample, progress=bar.update)
        show(document(done), as_json, printing.skew(done))
        _end(done.alerts)

    run_in(env, run)


def _end(alerts: "Sequence[Alert]") -> None:
    """Leave with the code of an alert where there is one, so that a scheduler can tell."""
    from recsys.decision.alerts import ALERT_EXIT

    if alerts:
        raise typer.Exit(ALERT_EXIT)
