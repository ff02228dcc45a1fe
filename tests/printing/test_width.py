"""Does a text fit the width that it is asked for, with every word in its place?"""

import io
import os
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.printing.width import columns, fit, fitted, table, table_within

WORDS = st.text(alphabet="abc0.-→ü", min_size=1, max_size=9).filter(lambda word: set(word) != {"-"})
CELLS = st.lists(WORDS, max_size=12).map(" ".join)
HEADER = ["channel", "days to test", "because"]
ROWS = [["phone", "1,470 [1,414, 1,582]", "more than there are places: none may be wasted"], ["sms", "-", ""]]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]], tuple[int, ...]]:
    """A header, rows and the columns that are aligned to the right."""
    number = draw(st.integers(1, 5))
    header = draw(st.lists(CELLS.filter(bool), min_size=number, max_size=number))
    rows = draw(st.lists(st.lists(CELLS, min_size=number, max_size=number), max_size=5))
    return header, rows, tuple(draw(st.sets(st.integers(0, number - 1))))


def laid(width: int | None, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lay out a table as one text."""
    return "\n".join(line for lines in table_within(width, header, rows, right) for line in lines)


def plain(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Lay out a table with one line a row, by str.format."""
    of = [[*column] for column in zip(header, *rows, strict=True)]
    widths = [max(map(len, column)) for column in of]
    form = "  ".join(f"{{:{'>' if at in right else '<'}{width}}}" if width else "{}" for at, width in enumerate(widths))
    head, *body = (f"  {form.format(*row)}".rstrip() if any(row) else "  " for row in (header, *rows))
    return "\n".join([head, "  " + "  ".join("-" * width for width in widths), *body])


def spans(text: str) -> list[slice]:
    """Return where each column of a table stands, by the line under its header."""
    (rule,) = [line for line in text.split("\n") if line.startswith("  -") and not set(line) - {" ", "-"}]
    return [slice(*found.span()) for found in re.finditer("-+", rule)]


@given(tables(), st.integers(1, 120))
@example((HEADER, ROWS, (1,)), 40)
def test_a_table_fits_where_its_words_do_and_keeps_them_in_their_columns(
    made: tuple[list[str], list[list[str]], tuple[int, ...]], width: int
) -> None:
    header, rows, right = made
    text = laid(width, header, rows, right)
    words = [
        max(len(word) for cell in column for word in cell.split() or [""]) for column in zip(header, *rows, strict=True)
    ]
    assert max(map(len, text.split("\n"))) <= max(width, 2 * len(header) + sum(words))
    lines = text.split("\n")
    for at, span in enumerate(spans(text)):
        shown = [line[span] for line in lines if set(line) - {" ", "-"} or line == ""]
        in_column = " ".join(" ".join(shown).split())
        assert in_column == " ".join(" ".join([header[at], *(row[at] for row in rows)]).split())
        for piece in shown:
            padded = piece.ljust(span.stop - span.start)
            assert not padded.strip() or padded.strip() == (padded.lstrip() if at in right else padded.rstrip()), (
                "aligned"
            )
    for line in lines:  # nothing stands between the columns
        columns_of = spans(text)
        outside = [char for at, char in enumerate(line) if not any(of.start <= at < of.stop for of in columns_of)]
        assert not set(outside) - {" "}


@given(tables())
@example((HEADER, ROWS, (1,)))
def test_without_a_width_a_row_is_one_line(made: tuple[list[str], list[list[str]], tuple[int, ...]]) -> None:
    header, rows, right = made
    text = plain(header, rows, right)
    assert laid(None, header, rows, right) == text
    assert laid(max(map(len, text.split("\n"))), header, rows, right) == text


def test_headers_of_numbers_and_text_go_on_before_numbers_do() -> None:
    assert laid(58, HEADER, ROWS, (1,)).split("\n") == [
        "  channel          days to test  because",
        "  -------  --------------------  -------------------",
        "  phone    1,470 [1,414, 1,582]  more than there are",
        "                                 places: none may be",
        "                                 wasted",
        "  sms                         -",
    ]
    assert laid(20, ["stage", "of stage before"], [["click", "65.4%"], ["order", "7%"]], (1,)).split("\n") == [
        "  stage  of stage",
        "           before",
        "  -----  --------",
        "  click     65.4%",
        "  order        7%",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.lists(WORDS, min_size=1, max_size=30)), max_size=4), st.integers(1, 120)
)
def test_sentences_are_wrapped_at_words_and_indented(lines: list[tuple[int, list[str]]], width: int) -> None:
    text = "\n".join(" " * indent + " ".join(words) for indent, words in lines)
    shown = fit(text, width)
    assert shown.split() == text.split()
    assert fit(text, None) == text
    for line in shown.split("\n"):
        assert len(line) <= width or len(line.split()) == 1
    for indent, words in lines:
        first, *further = fit(" " * indent + " ".join(words), width).split("\n")
        assert len(first) - len(first.lstrip()) == indent
        assert all(len(line) - len(line.lstrip()) == indent + 2 for line in further)


def test_what_is_told_of_a_row_stands_under_all_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "18")
    assert table(["who", "what"], [["a", "one two three"], ["b", "four"]], below=[["    so"], []]).split("\n") == [
        "  who  what",
        "  ---  -------",
        "  a    one two",
        "       three",
        "    so",
        "  b    four",
    ]


def test_a_line_of_a_table_is_no_sentence() -> None:
    wide = laid(None, HEADER, ROWS, (1,))
    assert fit(wide, 30) == wide


class Terminal(io.StringIO):
    """A stdout that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_only_a_terminal_or_columns_variable_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "word " * 30
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert columns() is None
    assert fitted(sentence) == sentence
    assert table(HEADER, ROWS, (1,)) == laid(None, HEADER, ROWS, (1,))
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((72, 20)))
    assert columns() == 72
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert columns() == 40
    assert max(map(len, fitted(sentence).split("\n"))) <= 40
    assert table(HEADER, ROWS, (1,)) == laid(40, HEADER, ROWS, (1,))
    monkeypatch.setenv("COLUMNS", "wide")
    assert columns() is None
