"""What does a progress bar say of how long something will take, and where does it say nothing?"""

import io
import sys

import pytest

from recsys.printing.terminal import Bar


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: moment[0])
    return moment


def test_what_is_left_follows_from_what_was_done_since_the_start(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that goes on had 10 of 20 before; its label changes on the way."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Bar() as bar:
        bar.update("trials, best 0.1", 10, 20)
        now[0] = 30.0
        bar.update("trials, best 0.2", 12, 20)
    lines = terminal.getvalue().split("\r\x1b[K")[1:]
    assert lines == [
        f"[{'#' * 12}{'.' * 12}] trials, best 0.1 10/20",
        f"[{'#' * 14}{'.' * 10}] trials, best 0.2 12/20, 120 s left",
        "",
    ]


def test_elsewhere_there_is_nothing(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = io.StringIO()
    monkeypatch.setattr(sys, "stderr", elsewhere)
    with Bar() as bar:
        bar.update("trials", 1, 2)
        now[0] = 1.0
        bar.say("more")
    assert not elsewhere.getvalue()
