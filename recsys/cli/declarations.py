"""Are the declarations right, and how do they become so?"""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys.cli.app import Env, Json, app, run_in, show

if TYPE_CHECKING:
    from recsys.workflows.workspace import Workspace


@app.command()
def validate(env: Env = "local", as_json: Json = False) -> None:
    """Check every declaration and every reference, and report all findings at once."""

    def run(workspace: "Workspace") -> None:
        from dataclasses import asdict

        from recsys.workflows.declarations.validate import validate as check

        found = asdict(check(workspace))
        show(
            found,
            as_json,
            "valid: " + ", ".join(f"{count} {kind[:-1] if count == 1 else kind}" for kind, count in found.items()),
        )

    run_in(env, run)


@app.command()
def doctor(
    limit: Annotated[float, typer.Option("--limit", min=1, help="Seconds that one store may take to answer.")] = 20,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Check each connection, version and permission of an environment, and say what is wrong in one line each."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.environment.doctor import doctor as examine

        with printing.Bar() as bar:
            found = examine(workspace, bar.say, limit_seconds=limit)
        show(printing.diagnosis_document(found), as_json, printing.diagnosis(found))
        if found.failed:
            raise typer.Exit(1)

    run_in(env, run)


@app.command()
def plan(env: Env = "local", as_json: Json = False) -> None:
    """Show how registry/ and feature_repo/ differ from what was applied, whom that hits, and what forbids it."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.errors import SpecError
        from recsys.workflows.declarations.plan import plan as compare

        made = compare(workspace)
        show(printing.plan_document(made), as_json, printing.plan(made))
        if made.refused:
            raise SpecError(made.refused)

    run_in(env, run)


@app.command()
def apply(
    plan_digest: Annotated[
        Optional[str], typer.Option("--plan", help="Apply only if the plan still has this digest.")
    ] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Make the differences so, and record them: Feast's registry, then the ledger; nothing if one is refused."""

    def run(workspace: "Workspace") -> None:
        from recsys import printing
        from recsys.workflows.declarations.plan import apply as carry_out

        done = carry_out(workspace, plan_digest)
        show(
            printing.plan_document(done.plan, done.transaction),
            as_json,
            printing.applied(done.plan, done.transaction),
        )

    run_in(env, run)
