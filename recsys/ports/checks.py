"""What can `recsys doctor` ask of a store, and what is it told?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One answer."""

    name: str
    """What was asked, such as `online store: eviction`."""
    status: Status
    """failed: commands or requests will fail, or lose what they wrote; warning: they work, with something amiss."""
    found: str
    """What there is, on one line."""
    advice: str = ""
    """What a person can do; empty where nothing is to be done."""


@dataclass(frozen=True)
class Check:
    """The questions to one store, asked one after another until one finds no way on."""

    name: str
    """The store's, such as `online store`."""
    ask: Callable[[], Iterator[Finding]]
    """Asks. What it raises is a finding too: a failed one, and the last."""
