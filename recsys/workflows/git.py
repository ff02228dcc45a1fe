"""From which commit, and by whom, was something done?"""

import getpass
import os
import subprocess
from pathlib import Path


def commit(root: Path) -> str:
    """Return the commit of a checkout, with `-dirty` where files differ from it; `unknown` outside one."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head}-dirty" if dirty else head


def author() -> str:
    """Return who acts: RECSYS_AUTHOR, or the user the process runs as."""
    return os.environ.get("RECSYS_AUTHOR") or getpass.getuser()


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        ["git", "-C", str(root), *arguments],  # noqa: S607 - whichever git the user has
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()
