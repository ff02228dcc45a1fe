"""How are a feature repository's files imported, and forgotten again so that the next import sees an edit?"""

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def importable(repository: Path) -> Generator[None]:
    """Let the files of a repository be imported by their bare names, as Feast does, and from its folder.

    Args:
        repository: the folder feature_repo/, absolute.
    """
    before = set(sys.modules)
    sys.path.insert(0, str(repository))
    try:
        with contextlib.chdir(repository):
            yield
    finally:
        sys.path.remove(str(repository))
        for name in set(sys.modules) - before:
            if str(repository) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
