"""How does one get a shop without having one?"""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from recsys.cli.app import Json, app, show


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="The folder to write; new, empty, or a shop of this command.")],
    users: Annotated[Optional[int], typer.Option("--users", help="Users; 2,000 by default.")] = None,
    items: Annotated[Optional[int], typer.Option("--items", help="Items; 2,000 by default.")] = None,
    days: Annotated[Optional[int], typer.Option("--days", help="Days; 182 by default.")] = None,
    start: Annotated[Optional[str], typer.Option("--start", help="The first day; 2024-01-01 by default.")] = None,
    seed: Annotated[Optional[int], typer.Option("--seed", help="Another seed is another shop; 1 by default.")] = None,
    spec: Annotated[
        Optional[Path], typer.Option("--spec", help="A YAML file; the options above go before what it says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make up a shop with a known truth: users, items, events and what was shown, as parquet; needs no project."""
    from recsys import printing
    from recsys.workflows.data.simulate import read_simulation
    from recsys.workflows.data.simulate import simulate as make_up

    asked: dict[str, Any] = {"users": users, "days": days, "start": start, "seed": seed, "items": items}
    simulation = read_simulation(spec, {name: value for name, value in asked.items() if value is not None})
    with printing.Bar() as bar:
        done = make_up(simulation, out, lambda made, total: bar.update("users", made, total))
    show(printing.simulated_document(done), as_json, printing.simulated(done))
