"""How are paths and texts written in DuckDB's SQL?"""

from pathlib import Path

from recsys.adapters.transform_modules import present
from recsys.errors import DataError


def glob(path: Path) -> str:
    """Return the files of a table as DuckDB reads them.

    Raises:
        DataError: if there are none.
    """
    if not present(path).is_dir():
        return str(path)
    if next(path.glob("**/*.parquet"), None) is None:
        message = f"{path}: holds no parquet file; run `recsys ingest` and `recsys features build` to make it"
        raise DataError(message)
    return str(path / "**" / "*.parquet")


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"
