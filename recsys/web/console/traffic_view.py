"""How was an experiment's traffic shared out, epoch by epoch? As bars on the line from 0 to 1, and as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recsys.web.console.reads import Document

WIDTH = 10_000
"""The line's length in the drawing: a bucket is 1."""


@dataclass(frozen=True)
class Bar:
    """A stretch of the line."""

    kind: str
    """slot (what an arm may grow into), taken, range or holdout."""
    hue: int
    """Which of the arms' colours."""
    x: int
    width: int
    title: str


@dataclass(frozen=True)
class Line:
    """The line at one time."""

    label: str
    bars: tuple[Bar, ...]


def arms_in_order(document: Document) -> list[str]:
    """Return the arms by the place of their slots."""
    return sorted(document["slots"], key=lambda arm: (document["slots"][arm]["slot"], arm))


def traffic_lines(document: Document) -> list[Line]:
    """Return a line an epoch, oldest first, each with every arm's slot and what it took of it.

    Args:
        document: of an experiment.
    """
    return [
        Line(f"{_day(epoch['start'])} to {_day(epoch['end'])}", tuple(_bars(document, epoch["ratios"])))
        for epoch in document["epochs"]
    ]


def layer_line(document: Document) -> Line | None:
    """Return the experiment's range and the holdout on its layer's line; None where it is in none."""
    layer = document["layer"]
    if layer is None:
        return None
    bars = [_bar("range", 0, layer["range"], "this experiment")]
    if layer["holdout"] is not None:
        bars.append(_bar("holdout", 0, layer["holdout"], "holdout"))
    return Line(f"layer {layer['name']}", tuple(bars))


def traffic_table(document: Document) -> list[list[str]]:
    """Return the same as rows: from, to, and of each arm what it took of its slot."""
    return [
        [
            _day(epoch["start"]),
            _day(epoch["end"]),
            *(_taken(document, arm, epoch["ratios"].get(arm)) for arm in arms_in_order(document)),
        ]
        for epoch in document["epochs"]
    ]


def _bars(document: Document, ratios: Document) -> Iterator[Bar]:
    for hue, arm in enumerate(arms_in_order(document)):
        first, last = document["slots"][arm]["slot"]
        yield _bar("slot", hue, (first, last), f"{arm}: slot {first:g} to {last:g}")
        ratio = ratios.get(arm)
        if ratio:
            yield _bar("taken", hue, (first, first + ratio), f"{arm}: {100 * ratio:g} % of the traffic")


def _bar(kind: str, hue: int, share: Any, title: str) -> Bar:  # noqa: ANN401 - two numbers from JSON
    first, last = (round(WIDTH * each) for each in share)
    return Bar(kind, hue, first, last - first, title)


def _taken(document: Document, arm: str, ratio: float | None) -> str:
    first, last = document["slots"][arm]["slot"]
    return "not there yet" if ratio is None else f"{100 * ratio:g} % of all, of a slot from {first:g} to {last:g}"


def _day(moment: str) -> str:
    return moment[:16].replace("T", " ").removesuffix(" 00:00")
