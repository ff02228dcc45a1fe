"""What does a Feast configuration say, once its variables are filled in, and what if its registry cannot be reached?"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from recsys.errors import FeatureError, StoreError
from recsys.specs.variables import expanded

_WAIT_SECONDS: Final = 5
_COMMENT: Final = re.compile(r"(?m)(^|\s)#.*$")


def read_configuration(path: Path) -> dict[str, Any]:
    """Read a Feast YAML; `${NAME}` is taken from the process's environment, as Feast itself does.

    Raises:
        FeatureError: it is missing, or no YAML.
        SpecError: it names variables that are not set, which Feast would take as they stand.
    """
    shown = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"Feast configuration {path}: {error.strerror}; the environment's feature_store names it"
        raise FeatureError(message) from error
    try:
        raw = yaml.safe_load(expanded(_COMMENT.sub("", text), shown))
    except yaml.YAMLError as error:
        message = f"Feast configuration {shown}: not YAML: {getattr(error, 'problem', None) or error}"
        raise FeatureError(message) from error
    if not isinstance(raw, dict):
        message = f"Feast configuration {shown}: it is a mapping of settings to values"
        raise FeatureError(message)
    return raw


def registry_path(configuration: dict[str, Any]) -> str:
    """Return where the registry is: a file, or the address of a database."""
    declared = configuration.get("registry", "")
    return str(declared.get("path", "") if isinstance(declared, dict) else declared)


@contextmanager
def registry_failures(configuration: str) -> Iterator[None]:
    """Turn what the database of a SQL registry says into one line.

    Args:
        configuration: the name of the Feast YAML.

    Raises:
        StoreError: instead of SQLAlchemy's errors, and of the driver's being missing.
    """
    import sqlalchemy as sa

    try:
        yield
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()
        reason = words[0] if words else type(error).__name__
        message = (
            f"Feast registry of {configuration}: cannot be read or written: {reason};"
            " check registry.path, that the server runs, and that this role may read and write there"
        )
        raise StoreError(message) from error


@contextmanager
def registry_disconnected(address: str) -> Iterator[None]:
    """Close, at the end of the block, the connections to a SQL registry that were opened in it.

    Feast never does, and the driver warns of connections that nobody closed.
    """
    if "://" not in address:
        yield
        return
    import sqlalchemy as sa

    engines: set[sa.Engine] = set()

    def note(connection: sa.Connection) -> None:
        if connection.engine.url == sa.make_url(address):
            engines.add(connection.engine)

    sa.event.listen(sa.Engine, "engine_connect", note)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "engine_connect", note)
        for engine in engines:
            engine.dispose()


def registry_is_empty(configuration: str, address: str) -> bool:
    """Say whether the database of a SQL registry has none of its tables yet: Feast makes them when it is opened.

    Args:
        configuration: the name of the Feast YAML.
        address: of the database.

    Raises:
        StoreError: if it cannot be reached.
    """
    import sqlalchemy as sa

    with registry_failures(configuration):
        engine = sa.create_engine(address, poolclass=sa.pool.NullPool, connect_args=_bounds(address))
        try:
            return not sa.inspect(engine).has_table("feature_views")
        finally:
            engine.dispose()


def _bounds(address: str) -> dict[str, int]:
    return {} if address.startswith("sqlite") else {"connect_timeout": _WAIT_SECONDS}
