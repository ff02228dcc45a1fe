"""Is this machine one that recsys can work on? Python, packages, checkout, state folder, locks and tokens."""

import importlib.metadata
import os
import platform
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from recsys.errors import StoreError
from recsys.ports import Check, Finding, Status
from recsys.specs.environment import SHORTEST_TOKEN
from recsys.workflows.exclusive import exclusive
from recsys.workflows.git import commit
from recsys.workflows.workspace import Workspace

PACKAGE: Final = "recsys"
_FREE_FAILED: Final = 200_000_000
_FREE_WARNING: Final = 2_000_000_000
"""Bytes: a build spills, and a training keeps its set."""
_HELD_SECONDS: Final = 5.0


def machine_checks(workspace: Workspace) -> Sequence[Check]:
    """Return what `recsys doctor` asks of this machine and checkout."""
    return (
        Check("python", python_findings),
        Check("git", lambda: _commit(workspace)),
        Check("state folder", lambda: _state(workspace)),
        Check("locks", lambda: _locks(workspace)),
        Check("tokens", lambda: _tokens(workspace)),
    )


def python_findings() -> Iterator[Finding]:
    """Compare Python and the installed packages with what this package says it works with."""
    try:
        said = importlib.metadata.metadata(PACKAGE)
        wanted = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        advice = "install it: pip install -e . in the checkout, or `make install`"
        yield Finding("python: packages", "warning", f"{PACKAGE} is not installed, so its ranges are unknown", advice)
        return
    python, range_ = platform.python_version(), str(said["Requires-Python"] or "")
    if python in SpecifierSet(range_):
        yield Finding("python: version", "ok", f"Python {python}")
    else:
        yield Finding("python: version", "failed", f"Python {python}", f"install one that is {range_}")
    wrong, right = _packages(wanted)
    if wrong:
        yield Finding("python: packages", "failed", "; ".join(wrong), "pip install --upgrade recsys, or `make install`")
    else:
        yield Finding("python: packages", "ok", f"{right} packages as required")


def _packages(wanted: Sequence[str]) -> tuple[list[str], int]:
    """Return what is wrong, and how many are right; of an extra's packages only those that are there count."""
    wrong, right = [], 0
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        optional = requirement.marker is not None and "extra" in str(requirement.marker)
        if requirement.marker is not None and not optional and not requirement.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not optional:
                wrong.append(
                    f"{requirement.name} is not installed, {requirement.specifier or 'any version'} is required"
                )
            continue
        if requirement.specifier.contains(found, prereleases=True):
            right += 1
        else:
            wrong.append(f"{requirement.name} is {found}, required is {requirement.specifier}")
    return wrong, right


def _commit(workspace: Workspace) -> Iterator[Finding]:
    found = commit(workspace.root)
    if found == "unknown":
        advice = "work in a git checkout, with git installed: trainings and decisions name their commit"
        yield Finding("git: commit", "warning", "unknown", advice)
    elif found.endswith("-dirty"):
        advice = "commit them before a training that counts"
        yield Finding("git: commit", "warning", f"{found}: files differ from the commit", advice)
    else:
        yield Finding("git: commit", "ok", found)


def _state(workspace: Workspace) -> Iterator[Finding]:
    name, shown = "state folder: write", workspace.shown(workspace.state)
    probe = workspace.state / f".doctor-{uuid.uuid4().hex}"
    try:
        workspace.state.mkdir(parents=True, exist_ok=True)
        _write_and_rename(probe)
    except OSError as error:
        advice = "let this user write there, or declare another state"
        yield Finding(name, "failed", f"{shown}: {error.strerror or error}", advice)
        return
    yield Finding(name, "ok", shown)
    free = shutil.disk_usage(workspace.state).free
    text = f"{free / 1e9:,.1f} GB free"
    if free >= _FREE_WARNING:
        yield Finding("state folder: space", "ok", text)
    else:
        status: Status = "failed" if free < _FREE_FAILED else "warning"
        yield Finding("state folder: space", status, text, "free disk space: a build spills, a training keeps its set")


def _write_and_rename(probe: Path) -> None:
    """Do what every command does: write beside a file, bring it to disk, and rename it into place."""
    partial = probe.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(probe)
    finally:
        partial.unlink(missing_ok=True)
        probe.unlink(missing_ok=True)


def _locks(workspace: Workspace) -> Iterator[Finding]:
    """Hold a lock, and see whether a second holder is kept out."""
    name, resource = "locks: exclusion", f"doctor-{uuid.uuid4().hex}"
    path = workspace.state / "locks" / f"{resource}.lock"
    entered = False
    try:
        with exclusive(workspace, resource, "recsys doctor", wait_seconds=_HELD_SECONDS):
            try:
                with exclusive(workspace, resource, "recsys doctor", wait_seconds=0):
                    entered = True
            except StoreError:
                pass  # as it should be
    except StoreError as error:
        yield Finding(name, "failed", str(error))
        return
    finally:
        path.unlink(missing_ok=True)
    if entered:
        advice = "move the state folder to a local disk: two commands would write the same tables at once"
        yield Finding(name, "failed", "two held one lock at the same time", advice)
    else:
        yield Finding(name, "ok", "a second holder is kept out")


def _tokens(workspace: Workspace) -> Iterator[Finding]:
    name, declared = "serve: tokens", workspace.environment.serve
    variables = {"read_token": declared.read_token, "write_token": declared.write_token}
    missing = [f"serve.{field} names {variable}" for field, variable in variables.items() if _unset(variable)]
    short = [
        variable for variable in variables.values() if variable and len(os.environ.get(variable, "")) < SHORTEST_TOKEN
    ]
    if missing:
        advice = "set it to a random text: `recsys serve` does not start without it"
        yield Finding(name, "failed", f"{', '.join(missing)}, which is not set or empty", advice)
    elif short:
        advice = (
            "set it to a random text, such as of `openssl rand -hex 32`: `recsys serve` does not start with a short one"
        )
        yield Finding(name, "failed", f"{', '.join(short)}: shorter than {SHORTEST_TOKEN} characters", advice)
    elif all(variables.values()):
        yield Finding(name, "ok", "set; other machines may be listened to")
    else:
        yield Finding(name, "ok", "not both declared: only loopback is listened on")


def _unset(variable: str | None) -> bool:
    return variable is not None and not os.environ.get(variable)
