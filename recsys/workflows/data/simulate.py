"""How does a made-up shop get onto disk?

`recsys simulate`: events, items, users and what was shown as parquet, and the truth about them as JSON. Parts appear by
rename and the manifest last: a folder without a manifest is not a finished shop.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys import __version__, schema
from recsys.errors import DataError, StoreError
from recsys.simulation.parts import Part, Written, new_part, table_digest, write_table
from recsys.simulation.rows import EXPOSURES, IMPRESSIONS
from recsys.simulation.shop import Shop
from recsys.simulation.truth import Truth
from recsys.specs.catalog import read_fields
from recsys.specs.reading import validated
from recsys.specs.simulation import Simulation
from recsys.workflows.exclusive import read_written, write_by_rename

MANIFEST: Final = "manifest.json"
TRUTH: Final = "truth.json"

_CLAIM: Final = ".simulation"
"""Says that the folder belongs to this command, and is locked while one is at work."""
_PARTIAL: Final = ".partial"
"""How files end that a killed run left behind."""
_EVENTS: Final = {"events": schema.EVENTS}
_SHOWN: Final = {"exposures": EXPOSURES, "impressions": IMPRESSIONS}
_SINGLE: Final = ("items.parquet", "users.parquet")
_FILES: Final = frozenset({_CLAIM, MANIFEST, TRUTH, *_SINGLE, *_EVENTS, *_SHOWN})
"""Everything that this command writes into its folder."""


@dataclass(frozen=True)
class SimulatedTable:
    """A table of the shop."""

    rows: int
    size: int
    """Bytes on disk."""
    sha256: str
    """Of the file; of a folder, of its parts' digests in their order."""


@dataclass(frozen=True)
class SimulatedShop:
    """What was written."""

    out: Path
    tables: Mapping[str, SimulatedTable]
    truth: Mapping[str, Any]
    """What truth.json says."""
    seconds: float
    reused: bool
    """True where the same shop was there already."""


def read_simulation(path: Path | None, asked: Mapping[str, Any]) -> Simulation:
    """Read a declaration; what is asked for goes before what it says.

    Args:
        path: a YAML file, or None for the defaults.
        asked: values by field: users, days, start, seed, or items of the assortment.

    Raises:
        SpecError: with every finding.
    """
    shown = str(path) if path is not None else "recsys simulate"
    fields = read_fields(path, shown) if path is not None else {}
    own = {name: value for name, value in asked.items() if name != "items"}
    if "items" in asked:
        assortment = fields.get("assortment") or {}
        own["assortment"] = {**assortment, "items": asked["items"]} if isinstance(assortment, dict) else assortment
    return validated({**fields, **own}, shown, Simulation)


def simulate(
    simulation: Simulation, out: Path, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> SimulatedShop:
    """Write a shop into a folder, or keep it if it is there already.

    Args:
        simulation: the shop.
        out: a folder that does not exist, is empty, or was written by this command.
        progress: is told users done and users in all.

    Raises:
        DataError: if the folder holds something else.
        StoreError: if another process is writing there.
    """
    begun = time.monotonic()
    with _claimed(out):
        asked = {"recsys": __version__, "numpy": np.__version__, "simulation": simulation.model_dump(mode="json")}
        tables = _kept(out, asked)
        if tables is not None:
            truth = json.loads((out / TRUTH).read_text(encoding="utf-8"))
            return SimulatedShop(out, tables, truth, time.monotonic() - begun, reused=True)
        _clear(out)
        written, known = _write(simulation, out, progress)
        tables = {
            name: SimulatedTable(
                sum(each.rows for each in parts), sum(each.size for each in parts), table_digest(parts)
            )
            for name, parts in written.items()
        }
        documents = {name: vars(table) for name, table in tables.items()}
        truth = {**asked, **known.document(), "tables": documents}
        write_by_rename(out / TRUTH, truth)
        write_by_rename(out / MANIFEST, {**asked, "tables": documents})
    return SimulatedShop(out, tables, truth, time.monotonic() - begun, reused=False)


def _write(
    simulation: Simulation, out: Path, progress: Callable[[int, int], None]
) -> tuple[dict[str, list[Written]], Truth]:
    """Write all tables; items and users come last."""
    shop, truth = Shop(simulation), Truth(simulation)
    parted = _EVENTS | (_SHOWN if simulation.exposures else {})
    written: dict[str, list[Written]] = {name: [] for name in parted}
    progress(0, simulation.users)
    done = 0
    with new_part(out / "users.parquet", schema.USERS) as all_users:
        for block in range(shop.blocks):
            users = shop.users(block)
            with ExitStack() as files:
                parts: dict[str, Part] = {
                    name: files.enter_context(new_part(out / name / f"part-{block:05}.parquet", columns))
                    for name, columns in parted.items()
                }
                for rows in shop.rows(users, block, truth):
                    for name, part in parts.items():
                        part.add(getattr(rows, name))
                for name, part in parts.items():
                    written[name].append(part.finish())
            all_users.add(users.table)
            done += len(users.ids)
            progress(done, simulation.users)
        written["items"] = [write_table(out / "items.parquet", shop.catalogue.table)]
        written["users"] = [all_users.finish()]
    return written, truth


@contextmanager
def _claimed(out: Path) -> Generator[None]:
    """Hold the folder alone; it is refused if it is somebody else's."""
    if out.exists() and not out.is_dir():
        message = f"{out}: is a file; a shop is written into a folder: choose another --out"
        raise DataError(message)
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    others = sorted(name for name in found - _FILES if not name.endswith(_PARTIAL))
    if others or (found and _CLAIM not in found):
        message = (
            f"{out}: holds {(others or sorted(found))[0]}, which `recsys simulate` did not write; it writes into a new"
            " or empty folder, or over a shop of its own: choose another --out"
        )
        raise DataError(message)
    out.mkdir(parents=True, exist_ok=True)
    with (out / _CLAIM).open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{out}: another `recsys simulate` is writing there; wait for it or choose another --out"
            raise StoreError(message) from error
        yield


def _kept(out: Path, asked: Mapping[str, Any]) -> dict[str, SimulatedTable] | None:
    """Return the tables of the finished shop in a folder, or None where it is another one, damaged or not there."""
    manifest, truth = read_written(out / MANIFEST), read_written(out / TRUTH)
    if manifest is None or truth is None or {**asked, "tables": manifest.get("tables")} != manifest:
        return None
    tables = {name: SimulatedTable(**fields) for name, fields in manifest["tables"].items()}
    return tables if all(_size(out, name) == table.size for name, table in tables.items()) else None


def _size(out: Path, table: str) -> int:
    file = out / f"{table}.parquet"
    files = [file] if file.exists() else sorted((out / table).glob("part-*.parquet"))
    return sum(path.stat().st_size for path in files)


def _clear(out: Path) -> None:
    """Remove an earlier shop or what is left of one: first what says that it is finished, then the catalogue."""
    left = sorted(path.name for path in out.glob(f"*{_PARTIAL}"))
    for name in (MANIFEST, TRUTH, *_SINGLE, *_EVENTS, *_SHOWN, *left):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
