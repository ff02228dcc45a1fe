"""What does a terminal get: a bar while something runs, an interval?"""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

_WIDTH: Final = 24


class Bar:
    """A progress bar on stderr when that is a terminal, and silence elsewhere."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._shown = sys.stderr.isatty()
        self._started: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Self:
        """Return the bar."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def say(self, what: str) -> None:
        """Show what is being done."""
        self._draw(f"… {what}")

    def update(self, what: str, done: int, total: int) -> None:
        """Show how far something is, and how long it will take.

        Args:
            what: is being done; what stands behind a comma may change on the way.
            done: so much of it, what was done before included.
            total: of so much.
        """
        started, before = self._started.setdefault(what.partition(",")[0], (time.monotonic(), done))
        filled = _WIDTH * done // max(total, 1)
        spent = time.monotonic() - started
        left = f", {spent * (total - done) / (done - before):.0f} s left" if done > before and total > 1 else ""
        self._draw(f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {what} {done:,}/{total:,}{left}")

    def update_with_rows(self, what: str, done: int, total: int, rows: int) -> None:
        """Show the same, and how many rows are made in a second.

        Args:
            what: is being done.
            done: so much of it, what was done before included.
            total: of so much.
            rows: so many were made since the first update.
        """
        started, _ = self._started.setdefault(what, (time.monotonic(), done))
        spent = time.monotonic() - started
        rate = f", {rows / spent:,.0f} rows/s," if rows and spent else ""
        self.update(f"{what}{rate}", done, total)

    def _draw(self, line: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


def interval(value: Mapping[str, float | None], digits: int) -> str:
    """Show an estimate with its bounds, where it has any."""
    estimate, lower, upper = (value[name] for name in ("estimate", "lower", "upper"))
    if estimate is None:
        return "not defined"
    return f"{estimate:.{digits}f}" + _bounds(lower, upper, lambda bound: f"{bound:.{digits}f}")


def narrow(value: Mapping[str, float | None]) -> str:
    """Show an estimate with its bounds in as few columns as a table of several metrics has: .3002 [.290, .310]."""
    estimate, lower, upper = (value[name] for name in ("estimate", "lower", "upper"))
    if estimate is None:
        return "not defined"
    return _pointed(estimate, 4) + _bounds(lower, upper, lambda bound: _pointed(bound, 3))


def _pointed(value: float, digits: int) -> str:
    """Write a number without the 0 before its point."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def percent(value: Mapping[str, float | None]) -> str:
    """Show a relative effect with its bounds."""
    estimate, lower, upper = (value[name] for name in ("estimate", "lower", "upper"))
    if estimate is None or lower is None:
        return "not defined"
    return f"{estimate:+.1%}" + _bounds(lower, upper, lambda bound: f"{bound:+.1%}")


def _bounds(lower: float | None, upper: float | None, written: Callable[[float], str]) -> str:
    """Write the bounds of an interval; JSON has null for an upper bound that there is none of, and for both of none."""
    if lower is None:
        return ""
    return f" [{written(lower)}, " + ("∞)" if upper is None else f"{written(upper)}]")
