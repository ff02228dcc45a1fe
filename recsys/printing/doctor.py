"""How does a diagnosis read?"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.workflows.environment.doctor import Diagnosis


def diagnosis(done: "Diagnosis") -> str:
    """Lay out every check, and under the table what is to be done, a line a finding."""
    rows = [[finding.status, finding.name, finding.found] for finding in done.findings if finding.status == "ok"]
    text = table(["status", "check", "found"], rows) if rows else ""
    wrong = [finding for status in ("warning", "failed") for finding in done.findings if finding.status == status]
    lines = [
        f"  {finding.status}: {finding.name}: {finding.found}" + (f": {finding.advice}" if finding.advice else "")
        for finding in wrong
    ]
    warnings = len(wrong) - done.failed
    summary = f"  {done.environment}: {len(rows)} ok, {warnings} warnings, {done.failed} failed"
    return "\n".join([text, *lines, summary])


def diagnosis_document(done: "Diagnosis") -> dict[str, Any]:
    """Return a diagnosis as JSON."""
    return {
        "environment": done.environment,
        "failed": done.failed,
        "findings": [asdict(finding) for finding in done.findings],
    }
