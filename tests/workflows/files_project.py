"""What is a project whose shop delivers parquet files, and how does it deliver more?"""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recsys import schema
from recsys.wiring import open_workspace
from recsys.workflows.workspace import Workspace

ROOT: Final = Path(__file__).parents[2]
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday."""
WEEK: Final = timedelta(days=7)
ENVIRONMENT: Final = "registry/environments/local.yaml"
TRANSFORMS: Final = "feature_repo/transforms.py"

Row = dict[str, Any]


def event(number: int, weeks: float, **changes: Any) -> Row:
    """Return a purchase so many weeks after the start."""
    at = START + weeks * WEEK
    return {
        "event_id": f"e{number}",
        "event_type": "purchase",
        "user_id": f"u{number % 3}",
        "item_id": f"i{number % 2}",
        "session_id": f"s{number}",
        "quantity": 1.0,
        "value": 2.0,
        "event_timestamp": at,
        "created_timestamp": at,
    } | changes


def week_of(week: int) -> list[Row]:
    """Return a week's purchases, all known at once."""
    return [event(10 * week + number, week + (number + 1) / 10) for number in range(6)]


class FilesProject:
    """The shipped declarations on a folder of parquet files."""

    def __init__(self, root: Path) -> None:
        """Copy the declarations; the clock stands after all deliveries."""
        self.root = root
        for name in ("registry", "feature_repo"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.declare(data={"source": "files", "path": "shop"}, clock={"replay_from": "2024-06-03"})
        self.catalogue("items", [{"item_id": f"i{number}", "line_id": "l"} for number in range(2)])
        self.catalogue("users", [{"user_id": f"u{number}"} for number in range(3)])

    def declare(self, **fields: Any) -> None:
        """Change fields of the environment."""
        path = self.root / ENVIRONMENT
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))

    def contract(self, **rules: Any) -> None:
        """Set the contract."""
        self.declare(data={"source": "files", "path": "shop", "contract": rules})

    def deliver(self, part: int, rows: list[Row]) -> Path:
        """Write a file of events; the same number again replaces it."""
        return self._write(self.root / "shop" / "events" / f"part-{part}.parquet", rows, schema.EVENTS)

    def catalogue(self, name: str, rows: list[Row]) -> Path:
        """Write items or users."""
        columns = {"items": schema.ITEMS, "users": schema.USERS}[name]
        return self._write(self.root / "shop" / f"{name}.parquet", rows, columns)

    def open(self) -> Workspace:
        """Open it as a command does."""
        return open_workspace("local", self.root)

    def read(self, name: str) -> list[Row]:
        """Return the rows of a table of the state: events, or refused/events."""
        return [dict(row) for row in pq.read_table(self.root / ".recsys" / "tables" / f"{name}.parquet").to_pylist()]

    def bytes_below(self, folder: str) -> Mapping[str, bytes]:
        """Return what every file below a folder of the state holds, by its path there."""
        below = self.root / ".recsys" / folder
        return {str(path.relative_to(below)): path.read_bytes() for path in below.rglob("*") if path.is_file()}

    def _write(self, path: Path, rows: list[Row], columns: pa.Schema) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, columns), path)
        return path
