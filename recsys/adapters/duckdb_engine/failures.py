"""What does DuckDB say when something fails, and what can a person do?"""

from pathlib import Path

from recsys.errors import DataError, FeatureError


def transform_failed(module: Path, table: str, sources: str, error: Exception) -> FeatureError:
    """Return whatever a declared transform raises as one line."""
    message = (
        f"feature table {table}: its transform in {module.name} does not run on {sources}:"
        f" {type(error).__name__}: {reason(error)}; {advice(error)}"
    )
    return FeatureError(message)


def reason(error: Exception) -> str:
    """Return the first line: DuckDB repeats the statement below it."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def advice(error: Exception) -> str:
    """Return what to do about it."""
    text = str(error).lower()
    if "no space left" in text or "out of disk" in text:
        return "free disk space and run this again"
    if "permission denied" in text:
        return "check that this user may read and write the state folder"
    if "parquet" in text or "magic bytes" in text:
        return "where a file is damaged, delete it and run `recsys ingest` and `recsys features build` again"
    return "mend what it names"


def glob(path: Path) -> str:
    """Return the files of a table as DuckDB reads them.

    Raises:
        DataError: if there are none.
    """
    if not path.exists():
        message = f"{path}: no such file or folder; run `recsys ingest` and `recsys features build` to make it"
        raise DataError(message)
    return str(path / "**" / "*.parquet") if path.is_dir() else str(path)


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"
