"""How are numbers, texts and tables written in HTML?

Whatever comes from a document is escaped here, once.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

NOTHING: Final = "-"
"""Stands where a document has null."""

IntervalValues = Mapping[str, float | None]
"""estimate, lower and upper."""


def number(value: float | None, digits: int = 4) -> str:
    """Write a number, or a dash where there is none."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share as percent, or a dash where there is none."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def p_value(value: float | None) -> str:
    """Write a probability to two digits, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.2g}"


def minute(moment: str) -> str:
    """Write an ISO time to the minute."""
    return moment[:16].replace("T", " ")


def interval(values: IntervalValues, digits: int = 4) -> str:
    """Write an estimate with its bounds, as HTML: the bounds are smaller, and left out where there are none."""
    estimate, lower, upper = (
        None if values[key] is None else number(values[key], digits) for key in ("estimate", "lower", "upper")
    )
    return estimate_with(estimate, lower, upper)


def estimate_with(estimate: str | None, lower: str | None, upper: str | None) -> str:
    """Write an estimate and its bounds as HTML; without an upper one, JSON has null for it, the interval is open."""
    if estimate is None or lower is None:
        return estimate or NOTHING
    ending = "&infin;)" if upper is None else f"{upper}]"
    return f'{estimate} <span class="bounds">[{lower}, {ending}</span>'


def text(value: object) -> str:
    """Escape a text."""
    return escape(str(value))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, marked: str | None = None, caption: str = "") -> str:
    """Lay out a table whose first column names its rows.

    Args:
        header: escaped texts.
        rows: escaped texts; the first is the row's name.
        marked: the name of the row that stands out.
        caption: escaped text above it.
    """
    head = "".join(f'<th scope="col">{cell.replace("_", "_<wbr>")}</th>' for cell in header)
    body = "".join(
        f'<tr{" class=marked" if row[0] == marked else ""}><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    told = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0"><table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Lay out names and their values; both are escaped texts."""
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs) + "</dl>"


def listed(texts: Iterable[str]) -> str:
    """Lay out a list of escaped texts."""
    return "<ul>" + "".join(f"<li>{each}</li>" for each in texts) + "</ul>"


def section(title: str, *parts: str) -> str:
    """Put parts under a title; without any there is no section."""
    said = "".join(part for part in parts if part)
    return f"<section><h2>{text(title)}</h2>{said}</section>" if said else ""


def paragraph(words: str) -> str:
    """Put escaped words into a paragraph."""
    return f"<p>{words}</p>"


def folded(title: str, inside: str) -> str:
    """Put a part behind a title that opens it."""
    return f"<details><summary>{text(title)}</summary>{inside}</details>" if inside else ""


def value_at(document: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401 - JSON values
    """Return what stands under some keys, or None where one of them is missing."""
    found: Any = document
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found
