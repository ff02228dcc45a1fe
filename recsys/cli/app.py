"""What do all commands share: the application, its common options, how results and failures leave?"""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from recsys.workflows.workspace import Workspace

app = typer.Typer(
    name="recsys",
    help="The life cycle of a shop recommender: features, models, lists, experiments, verdicts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Env = Annotated[str, typer.Option("--env", help="A file under registry/environments/.", envvar="RECSYS_ENV")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def _say_version(asked: bool) -> None:
    if asked:
        import recsys

        typer.echo(recsys.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Declare under feature_repo/ and registry/, then train, serve, measure and promote."""


def main() -> None:
    """Run the command line; a refusal or failure is one line on stderr and exit code 1."""
    from recsys.errors import RecsysError

    try:
        app(prog_name="recsys")  # by `python -m recsys` too
    except RecsysError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        # Of a command's own files; what libraries raise is converted where they are called.
        typer.echo(f"error: {_file_failure(error)}", err=True)
        sys.exit(1)


def _file_failure(error: OSError) -> str:
    import errno

    what = f"{error.filename or 'a file of the state folder'}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{what}; free disk space and run this again"
    return f"{what}; check that this user may read and write there"


def run_in(env: str, command: "Callable[[Workspace], None]") -> None:
    """Open an environment and run a command in it."""
    from recsys.wiring import open_workspace

    command(open_workspace(env))


def read_window(
    workspace: "Workspace", since: str | None, until: str | None
) -> "tuple[datetime | None, datetime | None]":
    """Read what --from and --to say.

    Raises:
        SpecError: if one is no moment, nothing lies between them, or all of it is still to come.
    """
    from recsys.errors import SpecError
    from recsys.specs.base import read_moment

    first, last = (None if text is None else read_moment(text) for text in (since, until))
    if first is not None and last is not None and first >= last:
        how = "lies after" if first > last else "is the same as"
        raise SpecError([f"--from {since} {how} --to {until}: the first moment comes before the end"])
    now = workspace.clock.now()
    if first is not None and first > now:
        raise SpecError([f"--from {since} lies after the clock, {now:%Y-%m-%d %H:%M}: nothing has happened there yet"])
    return first, last


def show(document: Any, as_json: bool, text: str) -> None:  # noqa: ANN401 - any JSON value
    """Print a result: one JSON document, or text for people, as wide as their terminal."""
    if as_json:
        typer.echo(json.dumps(document, indent=2, default=str))
    else:
        tell(text)


def tell(text: str) -> None:
    """Print text for people, as wide as their terminal."""
    from recsys.printing import fitted

    typer.echo(fitted(text))


def confirm(question: str, yes: bool) -> None:
    """Ask before something is deleted, unless it was confirmed by --yes; where nobody can answer, --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo(f"error: {question} Nobody can be asked here: say --yes", err=True)
        raise typer.Exit(1)
    typer.confirm(question, abort=True, err=True)
