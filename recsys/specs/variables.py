"""What does a declared address say once `${NAME}` is taken from the process's environment, and what of it may be shown?

Addresses of servers differ by machine and may hold passwords, so files under version control name variables instead.
"""

import os
import re
from typing import Final

from recsys.errors import SpecError

_CREDENTIALS: Final = re.compile(r"(?<=://)([^/@\s:]*):\S*@|(?i:(?<=password=))[^\s&;]+")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expanded(text: str, where: str) -> str:
    """Put the values of variables in the place of their names.

    Args:
        text: with any number of `${NAME}`.
        where: the file and field it stands in, for the error.

    Raises:
        SpecError: a line for every variable that is not set or empty; no value is told.
    """
    names = dict.fromkeys(_VARIABLE.findall(text))
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise SpecError(
            [
                f"{where}: ${{{name}}}: environment variable {name} is not set or empty: export it before the command;"
                " docs/operations.md says what it holds"
                for name in missing
            ]
        )
    return _VARIABLE.sub(lambda found: os.environ[found[1]], text)


def without_password(text: str) -> str:
    """Hide the password of every address in a text."""
    return _CREDENTIALS.sub(lambda found: "***" if found[1] is None else f"{found[1]}:***@", text)
