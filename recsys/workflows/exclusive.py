"""Who may work on a part of the state now? Locks between processes, which a killed process frees by itself.

| resource | held alone by |
| --- | --- |
| `train-<model>-<version>` | `train`, `tune` and `dataset build` of it, `compare` where it is the first |
| `apply` | `apply` |
| `replay`: the environment's clock | `replay` |
| `experiment-<name>`: its exposures and report | `replay` and `evaluate` of it |
| `event-log`: what leaves it | `log prune`, `forget` |
| `batch-<placement>-<date>`, `batch-<audience>-<channel>-<date>`, `batch-<digest>` of a folder | `serve-batch` of it |
| `features`: tables, feature tables, online store | `ingest`, `features build`, `forget`, `apply` where Feast is told |
| `aliases`: aliases and their transactions in the ledger | `promote`, `rollback`, `accept`, the end of `train` |

Commands that only read what lies under `features` share it: `train`, `tune` until its trials begin, `compare`,
`replay`, `evaluate`, `serve-batch`, `dataset`, `funnel`. `log sent` shares `event-log` and the batch that it reads.

A command takes what is its own first, then `features`, then `aliases`: no two commands can wait for each other.
"""

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from recsys.errors import StoreError
from recsys.workflows.workspace import Workspace

FEATURES: Final = "features"
ALIASES: Final = "aliases"
REPLAY: Final = "replay"
EVENT_LOG: Final = "event-log"

WAIT_SECONDS: Final = 60.0
"""How long a command waits for another before it is refused."""
TOLD_AFTER_SECONDS: Final = 1.0
"""After how long a waiting command says for whom it waits."""

_POLL_SECONDS: Final = 0.05


@contextmanager
def exclusive(
    workspace: Workspace, resource: str, command: str, *, shared: bool = False, wait_seconds: float = WAIT_SECONDS
) -> Generator[None]:
    """Hold a part of the state: alone, or together with others that only read it.

    Args:
        workspace: the project; the lock is a file in `<state>/locks/`.
        resource: what is held; one name, one lock.
        command: what another process is told, such as `recsys promote home_ranker`.
        shared: other shared holders may work at the same time.
        wait_seconds: how long to wait for those who hold it; a line on stderr says so after a second.

    Raises:
        StoreError: naming the holder, its process and since when, if it did not end in time.
    """
    path = workspace.state / "locks" / f"{resource.replace('/', '-')}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        message = (
            f"lock {workspace.shown(path)}: cannot be opened ({error.strerror}): every command that writes takes one;"
            " check that this user may write into the state folder and that the disk has space"
        )
        raise StoreError(message) from error
    with file:
        _take(workspace, file, path, command, shared=shared, wait_seconds=wait_seconds)
        held = {"command": command, "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        _note(file, held)
        try:
            yield
        finally:
            _note(file, held | {"ended": True})


def sweep(folder: Path, pattern: str) -> None:
    """Remove what killed commands left half-written; to be called by the one holder of the resource.

    Args:
        folder: where the command writes; it need not exist.
        pattern: a glob below it.
    """
    for path in sorted(folder.glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def renamed_to(path: Path) -> Generator[Path]:
    """Give another file beside a path to write, which takes its place when all went well and something was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        if partial.exists():
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text so that a reader, after a kill too, finds the old or the new one and never a part."""
    with renamed_to(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_by_rename(path: Path, document: object) -> None:
    """Write a JSON document likewise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(document, indent=2), encoding="utf-8")
    partial.replace(path)


def read_written(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Return a document of `write_by_rename`, or None where it is missing or damaged; it can be made again."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _take(workspace: Workspace, file: IO[str], path: Path, command: str, *, shared: bool, wait_seconds: float) -> None:
    """Wait for the lock, bounded."""
    begun = time.monotonic()
    told = False
    while not _locked(file, path, shared=shared):
        waited = time.monotonic() - begun
        if waited >= wait_seconds:
            message = (
                f"{command}: refused after {waited:.0f} s: {_holders(path)} ({workspace.shown(path)}):"
                " they cannot work at the same time; wait for it and run this again, or end it if it hangs"
            )
            raise StoreError(message)
        if waited >= TOLD_AFTER_SECONDS and not told:
            told = True
            sys.stderr.write(f"{command}: waits up to {wait_seconds:.0f} s: {_holders(path)}\n")
            sys.stderr.flush()
        time.sleep(_POLL_SECONDS)


def _locked(file: IO[str], path: Path, *, shared: bool) -> bool:
    """Try once; whoever finds nobody there begins the file anew."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        if shared:
            # Another may slip in between the two locks; then this one has not got it yet.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        if not shared:
            return False
    except OSError as error:
        message = (
            f"lock {path.name}: cannot be taken ({error.strerror}): the state folder has to lie on a file system"
            " with locks; move it to a local disk"
        )
        raise StoreError(message) from error
    else:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note(file: IO[str], held: dict[str, Any]) -> None:
    """Append who holds the lock or has ended; it is information only, the lock itself is the kernel's."""
    file.write(json.dumps(held) + "\n")
    file.flush()


def _holders(path: Path) -> str:
    """Name those who hold a lock, as they noted it."""
    holders: dict[tuple[int, str, str], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            held = json.loads(line)
            key = (int(held["pid"]), str(held["command"]), str(held["since"]))
        except (ValueError, KeyError, TypeError):
            continue
        if held.get("ended"):
            holders.pop(key, None)
        else:
            holders[key] = held
    named = [f"`{command}` (pid {pid}) since {since}" for pid, command, since in holders if _lives(pid)]
    return f"{' and '.join(named) or 'another command'} is at work"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
