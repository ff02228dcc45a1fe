"""Is what serves still healthy?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, read_window, run_in, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.decision.alerts import Alert
    from recsys.workflows.workspace import Workspace

Since = Annotated[Optional[str], typer.Option("--from", help="Requests from this date or ISO time on.")]
Gauges = Annotated[
    Optional[Path],
    typer.Option("--gauges", help="A file for node_exporter's textfile collector, such as recsys_skew.prom."),
]
Until = Annotated[Optional[str], typer.Option("--to", help="And before this one; the clock's time by default.")]


@app.command()
def skew(
    name: Annotated[
        Optional[str], typer.Argument(help="An experiment, a model (basket) or a version (basket/v2); all by default.")
    ] = None,
    since: Since = None,
    until: Until = None,
    sample: Annotated[
        Optional[int],
        typer.Option("--sample", min=1, help="Requests of a model at most; as the monitor declares by default."),
    ] = None,
    gauges: Gauges = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Compare the logged features of sampled requests with the offline tables, and name each cause; 3 on an alert."""

    def run(workspace: "Workspace") -> None:
        from datetime import UTC, datetime

        from recsys import printing
        from recsys.workflows.monitoring.gauges import write_skew
        from recsys.workflows.monitoring.skew import document
        from recsys.workflows.monitoring.skew import skew as compare

        first, last = read_window(workspace, since, until)
        with printing.Bar() as bar:
            done = compare(workspace, name, since=first, until=last, sample=sample, progress=bar.update)
        show(document(done), as_json, printing.skew(done))
        if gauges is not None:
            write_skew(gauges, done, datetime.now(UTC))
        _end(done.alerts)

    run_in(env, run)


@app.command()
def drift(
    model: Annotated[str, typer.Argument(help="A model (basket: its champion) or a version (basket/v2).")],
    gauges: Gauges = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Compare recent candidates with a model's training set and judge it on matured labels since; 3 on an alert."""

    def run(workspace: "Workspace") -> None:
        from datetime import UTC, datetime

        from recsys import printing
        from recsys.workflows.monitoring.drift import Drifted, document
        from recsys.workflows.monitoring.drift import drift as compare
        from recsys.workflows.monitoring.gauges import write_drift

        with printing.Bar() as bar:
            done = compare(workspace, model, bar.update)
        show(document(done), as_json, printing.drift(done) if isinstance(done, Drifted) else f"  {done}")
        if gauges is not None:
            write_drift(gauges, done, datetime.now(UTC))
        _end(done.alerts)

    run_in(env, run)


@app.command()
def diagnose(
    name: Annotated[str, typer.Argument(help="An experiment, a model (basket) or a version (basket/v2).")],
    gauges: Gauges = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Say where the trouble is: features, model, stage, page or assortment, and the next step; 3 where there is any."""

    def run(workspace: "Workspace") -> None:
        from datetime import UTC, datetime

        from recsys import printing
        from recsys.workflows.monitoring.diagnose import diagnose_all, document
        from recsys.workflows.monitoring.gauges import write_diagnoses

        with printing.Bar() as bar:
            found = diagnose_all(workspace, name, bar.update)
        show(document(found), as_json, printing.trouble(found))
        if gauges is not None:
            write_diagnoses(gauges, found, datetime.now(UTC))
        _end([alert for each in found for alert in each.alerts])

    run_in(env, run)


def _end(alerts: "Sequence[Alert]") -> None:
    """Leave with the code of an alert where there is one, so that a scheduler can tell."""
    from recsys.decision.alerts import ALERT_EXIT

    if alerts:
        raise typer.Exit(ALERT_EXIT)
