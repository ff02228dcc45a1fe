"""How does a page leave the service? From a template that escapes everything, with headers that let in nothing else."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from recsys.modeling.feature_ranker import LOWEST
from recsys.reports import style

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script at all, nothing from elsewhere, and no other site may frame a page."""
_HEADERS: Final = {"Content-Security-Policy": POLICY, "Cross-Origin-Opener-Policy": "same-origin"}
"""Of a page; the application gives the other ones to every answer."""
_PICTURE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""Of a drawing, whose lines have their colours with them."""
_TICKED: Final = re.compile("`([^`]+)`")
_ROWS: Final = 12
"""Of a long table, so many are shown at once."""
_TINY: Final = 5e-5
"""What four decimals would write as 0."""
_HUGE: Final = 1e15
"""From here on the digits of a float say nothing."""
_KEPT: Final = "private, max-age=86400, immutable"


def page(template: str, status: int, context: Mapping[str, Any]) -> HTMLResponse:
    """Return a page."""
    return html(_templates().get_template(template).render(context), status)


def html(body: str | bytes, status: int = 200) -> HTMLResponse:
    """Return a page that is written already."""
    return HTMLResponse(body, status, _HEADERS)


def stylesheet() -> Response:
    """Return how pages look: as reports do, and what only the console has."""
    return Response(_style(), media_type="text/css", headers={"Cache-Control": "private, max-age=300"})


def icon() -> Response:
    """Return the picture of the browser's tab."""
    return Response(_static("icon.svg"), media_type="image/svg+xml", headers={"Cache-Control": _KEPT})


def picture(svg: str, *, keep: bool) -> Response:
    """Return a drawing; its address changes with it, so that a browser may keep it where no token guards it."""
    headers = {"Content-Security-Policy": _PICTURE_POLICY} | ({"Cache-Control": _KEPT} if keep else {})
    return Response(svg, media_type="image/svg+xml", headers=headers)


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recsys.web.console"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "minute": _minute,
        "value": _value,
        "part": _part,
        "ticked": _ticked,
        "pages": _pages,
        "selectparts": _told,
    }
    return environment


@cache
def _style() -> str:
    return f"{style.PAGE}\n{_static('console.css')}"


@cache
def _static(name: str) -> str:
    return (resources.files("recsys.web.console") / "static" / name).read_text(encoding="utf-8")


def _minute(moment: str | None) -> str:
    """Write a moment to the minute; a day alone where it is midnight."""
    return "" if moment is None else moment[:16].replace("T", " ").removesuffix(" 00:00")


def _value(found: object) -> str:
    """Write a feature's or a score's value; a dash where there is none, or no feature to score a row by."""
    if found is None or (isinstance(found, float) and (math.isnan(found) or found <= LOWEST)):
        return "-"
    if isinstance(found, float) and abs(found) >= _HUGE:
        return f"{found:.1e}"
    if isinstance(found, float) and not found.is_integer():
        return f"{found:.1e}" if abs(found) < _TINY else f"{found:,.4f}"
    return f"{found:,.0f}" if isinstance(found, float) else str(found)


def _ticked(text: str) -> Markup:
    """Write what stands between backticks as code."""
    return Markup(_TICKED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _pages(rows: Sequence[Any]) -> list[Sequence[Any]]:
    """Part rows into those that are shown and those that are folded away."""
    return [part for part in (rows[:_ROWS], rows[_ROWS:]) if part]


def _told(pairs: Sequence[tuple[str, str]], parts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Keep those whose part says something."""
    return [(name, words) for name, words in pairs if parts.get(name)]


def _part(name: str) -> str:
    """Write a name as part of an address; names may have folders."""
    return quote(name, safe="/")
