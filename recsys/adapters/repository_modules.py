"""How are a feature repository's files imported, and forgotten again so that the next import sees an edit?"""

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

STATE: Final = "RECSYS_STATE"
"""The environment variable by which the files know the state folder that feature tables lie in."""


def unreadable(repository: Path, error: SyntaxError) -> str:
    """Return where a file of a repository is no Python, and why, as `feature_repo/views.py:12: reason`."""
    name = Path(error.filename or repository).name
    return f"{repository.name}/{name}:{error.lineno}: {error.msg}: `feast apply` fails on it too"


@contextlib.contextmanager
def importable(repository: Path, state: Path | None = None) -> Generator[None]:
    """Let the files of a repository be imported by their bare names, as Feast does, and from its folder.

    Args:
        repository: the folder feature_repo/, absolute.
        state: the state folder, absolute, which the files read in `RECSYS_STATE`, relative to the repository; their
            own default if None.
    """
    before = set(sys.modules)
    told = os.environ.get(STATE)
    if state is not None:
        os.environ[STATE] = os.path.relpath(state, repository)
    sys.path.insert(0, str(repository))
    try:
        with contextlib.chdir(repository):
            yield
    finally:
        sys.path.remove(str(repository))
        os.environ.pop(STATE, None)
        if told is not None:
            os.environ[STATE] = told
        for name in set(sys.modules) - before:
            if str(repository) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
