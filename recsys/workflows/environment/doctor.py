"""Does everything that an environment needs answer, in a version that fits, and may it be written? `recsys doctor`.

Each store is asked by the adapter that uses it (`Adapters.checks`), in a thread of its own and at most for so long: a
host that is dead takes seconds, not minutes. What belongs to this machine and checkout is asked here.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from recsys.errors import RecsysError, SpecError
from recsys.ports import Check, Finding
from recsys.specs.variables import without_password
from recsys.workflows.declarations.plan import definitions_differ
from recsys.workflows.environment.machine import machine_checks
from recsys.workflows.features.online_rows import online_finding
from recsys.workflows.features.table_records import tables_finding
from recsys.workflows.workspace import Workspace

LIMIT_SECONDS: Final = 20.0
"""Longer than the clients' own time-outs, so that mostly they say what they waited for."""
_NAMED: Final = 3
"""So many definitions are named; a plan names all."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    environment: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(finding.status == "failed" for finding in self.findings)


def doctor(
    workspace: Workspace, tell: Callable[[str], None] | None = None, *, limit_seconds: float = LIMIT_SECONDS
) -> Diagnosis:
    """Ask everything at once, and wait for all answers.

    Args:
        workspace: the project, in the environment.
        tell: told what is waited for.
        limit_seconds: how long one store may take to answer all its questions.
    """
    tell = tell or (lambda _: None)
    tell("imports")
    workspace.adapters.prepare()  # takes seconds, which are none of a store's to answer in
    checks = [
        *machine_checks(workspace),
        *workspace.adapters.checks(),
        Check("feature definitions", lambda: _definitions(workspace)),
        Check("feature tables", lambda: tables_finding(workspace)),
        Check("online features", lambda: online_finding(workspace)),
    ]
    tell(", ".join(check.name for check in checks))
    asked = [_Asked(check) for check in checks]
    for each in asked:
        each.begin()
    ends = time.monotonic() + limit_seconds
    found = [finding for each in asked for finding in each.wait(ends, limit_seconds)]
    return Diagnosis(workspace.environment_name, _merged(map(_shown, found)))


def _definitions(workspace: Workspace) -> Iterator[Finding]:
    """Compare Feast's registry with the files of the feature repository."""
    differing = definitions_differ(workspace)
    if differing is None:
        yield Finding("feature definitions: applied", "ok", "Feast's registry says what the files say")
    elif not differing:
        yield Finding("feature definitions: applied", "warning", "none was applied yet", "run `recsys apply`")
    else:
        named = ", ".join(differing[:_NAMED]) + (
            f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        )
        advice = "look at `recsys plan`, then `recsys apply`"
        yield Finding("feature definitions: applied", "warning", f"the files differ in {named}", advice)


@dataclass
class _Asked:
    """One check in a thread of its own, which is left behind where it hangs."""

    check: Check
    answers: "queue.Queue[Finding | None]" = field(default_factory=queue.Queue)

    def begin(self) -> None:
        threading.Thread(target=self._ask, name=f"doctor {self.check.name}", daemon=True).start()

    def _ask(self) -> None:
        try:
            for finding in self.check.ask():
                self.answers.put(finding)
        except SpecError as error:
            for problem in error.problems:
                self.answers.put(Finding(self.check.name, "failed", problem))
        except RecsysError as error:
            self.answers.put(Finding(self.check.name, "failed", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever a library raises is what was found
            advice = "this is not foreseen: report it with the version of the package"
            self.answers.put(Finding(self.check.name, "failed", f"{type(error).__name__}: {error}", advice))
        finally:
            self.answers.put(None)

    def wait(self, ends: float, limit_seconds: float) -> Sequence[Finding]:
        found: list[Finding] = []
        while True:
            try:
                answer = self.answers.get(timeout=max(ends - time.monotonic(), 0.001))
            except queue.Empty:
                advice = "check that its host is up and that no firewall drops what is sent there"
                found.append(Finding(self.check.name, "failed", f"no answer within {limit_seconds:g} s", advice))
                return found
            if answer is None:
                return found
            found.append(answer)


def _merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Join what several stores complain of alike, such as a variable that two of them miss."""
    merged: list[Finding] = []
    for finding in findings:
        same = (i for i, other in enumerate(merged) if replace(other, name=finding.name) == finding)
        place = next(same, None) if finding.status != "ok" else None
        if place is None:
            merged.append(finding)
        else:
            merged[place] = replace(finding, name=f"{merged[place].name}, {finding.name}")
    return tuple(merged)


def _shown(finding: Finding) -> Finding:
    """Return a finding on one line, and without a password."""
    found, advice = (without_password(" ".join(text.split())) for text in (finding.found, finding.advice))
    return Finding(finding.name, finding.status, found, advice)
