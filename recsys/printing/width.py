"""How wide is what reads the output, and how does a text fit into that?

Only a terminal has a width: what is piped keeps its lines whole, so that a line can be searched for. COLUMNS sets one
for both. Words are never broken: a line is longer than the width only where a word, or the words of a table's row, are.

By textwrap and not by rich: without a width the text has to stay as it is to the letter, and rich shortens or breaks
words where they do not fit.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

_TEXT_WIDTH: Final = 30
"""Columns of text are narrowed to this before those of numbers are touched."""
_CELLS: Final = re.compile(r"\S {2,}\S")
"""What only a line of a table has: two spaces between words."""


def columns() -> int | None:
    """Return the width of stdout: COLUMNS where it is a number above 0, else a terminal's; None elsewhere."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(text: str) -> str:
    """Wrap the sentences of a text to the width of stdout."""
    return fit(text, columns())


def fit(text: str, width: int | None) -> str:
    """Wrap the sentences of a text at words, the further lines indented by two more; lines of tables stay.

    Args:
        text: of any number of lines.
        width: no line is longer if its words allow; None leaves the text as it is.
    """
    return text if width is None else "\n".join(_fit(line, width) for line in text.split("\n"))


def _fit(line: str, width: int) -> str:
    if len(line) <= width or _CELLS.search(line):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return "\n".join(_wrapped(line.strip(), width, indent, f"{indent}  "))


def _wrapped(text: str, width: int, first: str = "", further: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 1),
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    below: Sequence[Sequence[str]] | None = None,
) -> str:
    """Lay out a plain table that fits the width of stdout; columns in `right` are aligned to the right.

    Args:
        header: a title a column.
        rows: a cell a column each.
        right: numbers of the columns that are aligned to the right.
        below: lines that stand under each row, as many as rows.
    """
    head, *body = table_within(columns(), header, rows, right)
    told = below or [()] * len(rows)
    return "\n".join([*head, *(line for row, under in zip(body, told, strict=True) for line in (*row, *under))])


def table_within(
    width: int | None, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> list[list[str]]:
    """Lay out a plain table whose cells go on in further lines where it would be wider than asked.

    Headers of numbers are wrapped first, and text, from the widest column on; then whatever is left to wrap.

    Args:
        width: no line is longer if the words allow; None asks for one line a row.
        header: a title a column.
        rows: a cell a column each.
        right: numbers of the columns that are aligned to the right.

    Returns:
        The lines of the header, with the rule under it, and those of each row.
    """
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    room = None if width is None else width - 2 * len(header)
    if room is not None and sum(widths) > room:
        narrowed = _narrowed(widths, _floors(cells, widths, right), room)
        broken = [[_wrapped(*cell) or [""] for cell in zip(row, narrowed, strict=True)] for row in cells]
        widths = [max(len(line) for row in broken for line in row[column]) for column in range(len(header))]
    else:
        broken = [[[cell] for cell in row] for row in cells]
    head, *body = ([_line(row, number, widths, right) for number in range(max(map(len, row)))] for row in broken)
    return [[*head, "  " + "  ".join("-" * each for each in widths)], *body]


def _line(row: Sequence[Sequence[str]], number: int, widths: Sequence[int], right: Sequence[int]) -> str:
    """Return one line of a row, whose cells may have fewer."""
    texts = [lines[number] if number < len(lines) else "" for lines in row]
    parts = [
        text.rjust(width) if column in right else text.ljust(width)
        for column, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return "  " + "  ".join(parts).rstrip()


def _floors(cells: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[int]) -> list[list[int]]:
    """Return how narrow each column may become, ever less gently; a column's longest word is the last limit."""
    by_column = list(zip(*cells, strict=True))
    words = [max((len(word) for cell in column for word in cell.split()), default=0) for column in by_column]
    bodies = [max((len(cell) for cell in column[1:]), default=0) for column in by_column]
    numbers = [max(each) for each in zip(words, bodies, strict=True)]
    texts = [max(word, min(width, _TEXT_WIDTH)) for word, width in zip(words, widths, strict=True)]
    at = range(len(words))
    gentle = [numbers[column] if column in right else texts[column] for column in at]
    text = [numbers[column] if column in right else words[column] for column in at]
    return [gentle, text, words]


def _narrowed(widths: Sequence[int], floors: Sequence[Sequence[int]], room: int) -> list[int]:
    """Take from the widest column that may become narrower, until there is room or nothing is left to take."""
    found = list(widths)
    for floor in floors:
        while sum(found) > room:
            may = [column for column in range(len(found)) if found[column] > floor[column]]
            if not may:
                break
            found[max(may, key=found.__getitem__)] -= 1
    return found
