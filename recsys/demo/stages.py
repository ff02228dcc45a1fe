"""What was done in which stage of the demo, how long did it take, and with which result?"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from recsys import printing


@dataclass
class Stages:
    """What was done, for the closing table."""

    say: Callable[[str], None]
    done: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, title: str, command: str) -> "Iterator[dict[str, Any]]":
        """Announce a stage, time it, and keep its rows and result."""
        self.say(f"\n{len(self.done) + 1}. {title}\n$ {command}")
        entry: dict[str, Any] = {"stage": title, "rows": None, "seconds": 0.0, "result": ""}
        started = time.monotonic()
        yield entry
        entry["seconds"] = round(time.monotonic() - started, 1)
        self.done.append(entry)

    def table(self) -> str:
        """Lay out the closing table."""
        rows = [
            [
                entry["stage"],
                f"{entry['rows']:,}" if entry["rows"] is not None else "",
                f"{entry['seconds']:.1f}",
                entry["result"],
            ]
            for entry in self.done
        ]
        total = sum(entry["seconds"] for entry in self.done)
        return printing.table(
            ["stage", "rows", "seconds", "result"], [*rows, ["total", "", f"{total:.1f}", ""]], right=(1, 2)
        )
