"""How do lists reach people: one request at a time, or all at once?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[
        Optional[int], typer.Option(min=1, help="Processes that answer; as the environment declares by default.")
    ] = None,
    env: Env = "local",
) -> None:
    """Answer over HTTP: POST /v1/recommend, /v1/events, GET /healthz, /readyz, /metrics, /docs, and / for people."""

    def run(workspace: "Workspace") -> None:
        from recsys.web.server import run_server

        run_server(workspace, host, port, workers)

    run_in(env, run)


@app.command("serve-batch")
def serve_batch(
    placement: Annotated[
        str, typer.Argument(help="registry/placements/<placement>.yaml, or audiences/<audience>.yaml")
    ],
    channel: Annotated[
        Optional[str],
        typer.Option(
            "--channel",
            help="Of an audience: its capacity cuts the one list of units. It is one pass: a killed one is run again.",
        ),
    ] = None,
    date: Annotated[
        Optional[str], typer.Option("--date", help="The lists of this moment; the clock's time by default.")
    ] = None,
    out: Annotated[Optional[str], typer.Option("--out", help="A folder; <state>/batch/<placement> by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Of a placement: keep the parts that a run which was ended has written.")
    ] = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Write every known user's list, the one a request at this moment would get, or whom a campaign reaches."""

    def run(workspace: "Workspace") -> None:
        from pathlib import Path

        from recsys import printing
        from recsys.specs.base import read_moment
        from recsys.workflows.batches.serve_batch import serve_batch as write
        from recsys.workflows.decision.promote import overrides

        moment = None if date is None else read_moment(date)
        if channel is not None or placement in workspace.catalog.audiences:
            from recsys.errors import SpecError
            from recsys.workflows.batches.serve_campaign import serve_campaign

            if resume:
                finding = f"audience {placement}: --resume: its list is one pass; leave it out, and run it again"
                raise SpecError([finding])
            with printing.Bar() as bar:
                campaign = serve_campaign(
                    workspace,
                    placement,
                    channel,
                    moment,
                    Path(out) if out else None,
                    lambda n, total: bar.update("units", n, total),
                )
            written, said = printing.campaign_document(campaign, workspace), printing.campaign(campaign, workspace)
            written, said = printing.with_overrides(written, said, overrides(workspace, [campaign.model_version]))
            show(written, as_json, said)
            return
        with printing.Bar() as bar:
            done = write(
                workspace,
                placement,
                moment,
                Path(out) if out else None,
                lambda n, total, rows: bar.update_with_rows("lists", n, total, rows),
                resume=resume,
            )
        document = {
            "placement": done.placement,
            "at": done.at.isoformat(),
            "folder": workspace.shown(done.folder),
            "units": done.units,
            "rows": done.rows,
            "answered_by": dict(done.answered_by),
            "reused": done.reused,
            "resumed": done.resumed,
        }
        found = overrides(workspace, done.answered_by)
        document, said = printing.with_overrides(document, printing.batch(done, workspace), found)
        show(document, as_json, said)

    run_in(env, run)


@app.command()
def why(
    request_id: Annotated[str, typer.Argument(help="The `request_id` of an answer.")],
    shap: Annotated[bool, typer.Option("--shap", help="Take each score apart by column.")] = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Explain one logged answer: arm, weights, features then and now, sources, filters, stages, ranks and scores."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.data.item_labels import item_labels
        from recsys.workflows.decision.promote import overrides
        from recsys.workflows.requests.why import why as explain
        from recsys.workflows.requests.why_document import document, items_of

        found = explain(workspace, request_id, shap=shap)
        version = found.exposure.model_version
        overridden = overrides(workspace, [] if version is None else [version])
        labels = item_labels(workspace, items_of(found))
        told, said = printing.with_overrides(document(found, labels), printing.why(found, labels), overridden)
        show(told, as_json, said)

    run_in(env, run)
