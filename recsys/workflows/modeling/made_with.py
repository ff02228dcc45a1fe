"""With which code and which libraries was something made?"""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

import recsys

_LIBRARIES: Final = (
    "catboost",
    "duckdb",
    "feast",
    "ibis-framework",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
)


def library_versions() -> dict[str, str]:
    """Return the versions that results may depend on, by package; `python` and recsys among them."""
    return {"python": platform.python_version(), "recsys": recsys.__version__} | {
        package: version(package) for package in _LIBRARIES
    }


def code_digest() -> str:
    """Return the first 16 hex digits of the SHA-256 of this package's source files, by their paths in it."""
    package = Path(recsys.__file__).parent
    state = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        state.update(path.relative_to(package).as_posix().encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:16]
