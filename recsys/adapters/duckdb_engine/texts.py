"""How are paths and texts written in DuckDB's SQL?"""

from pathlib import Path

from recsys.adapters.transform_modules import present


def glob(path: Path) -> str:
    """Return the files of a table as DuckDB reads them.

    Raises:
        DataError: if there are none.
    """
    return str(path / "**" / "*.parquet") if present(path).is_dir() else str(path)


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"
