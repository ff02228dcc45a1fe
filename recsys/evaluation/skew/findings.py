"""What does a comparison of logged rows come to?"""

from dataclasses import dataclass, field

from recsys.evaluation.skew.causes import Cause


@dataclass(frozen=True)
class Finding:
    """One feature that differs for one cause."""

    cause: Cause
    view: str
    """Where the cause lies: the view that was late, changed or restated."""
    feature: str
    """The column that differs."""
    rows: int
    requests: int
    example: str
    """A row, its logged value and the one that it should be."""
    detail: str = ""
    """How the definition was changed, where it was."""


@dataclass(frozen=True)
class Skew:
    """What a sample of logged rows shows."""

    requests: int
    rows: int
    """Shown items, or contacts of campaigns, with logged features."""
    skewed_rows: int
    """Rows with a value that serving got wrong: all causes but restated data."""
    restated_rows: int
    """Rows of which a value is known to be otherwise today."""
    findings: tuple[Finding, ...] = ()
    """By cause, view and feature; most rows first."""

    @property
    def skewed_share(self) -> float:
        """The share of rows that serving got wrong."""
        return self.skewed_rows / self.rows if self.rows else 0.0

    @property
    def restated_share(self) -> float:
        """The share of rows of which a value is known to be otherwise today."""
        return self.restated_rows / self.rows if self.rows else 0.0


@dataclass
class _Found:
    rows: int = 0
    requests: set[str] = field(default_factory=set)
    example: str = ""


class Tally:
    """Counts differences by cause, view, feature and detail."""

    def __init__(self) -> None:
        """Count none yet."""
        self._found: dict[tuple[Cause, str, str, str], _Found] = {}

    def add(self, cause: Cause, view: str, feature: str, detail: str, request: str, example: str) -> None:
        """Count one value; the first example of each kind is kept."""
        found = self._found.setdefault((cause, view, feature, detail), _Found())
        found.rows += 1
        found.requests.add(request)
        found.example = found.example or example

    def findings(self) -> tuple[Finding, ...]:
        """Return what was counted, most rows first."""
        made = [
            Finding(cause, view, feature, found.rows, len(found.requests), found.example, detail)
            for (cause, view, feature, detail), found in self._found.items()
        ]
        return tuple(sorted(made, key=lambda each: (-each.rows, each.cause, each.view, each.feature)))
