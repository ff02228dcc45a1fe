"""How good is a version, as one page that anybody can read, and as pictures?"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from recsys.reports import sections, style
from recsys.reports.charts import charts
from recsys.reports.conventions import conventions
from recsys.reports.drawing import INK
from recsys.reports.feature_section import features
from recsys.reports.markup import listed, section, text

_GROUPS = ("split", "decision_time", "activity", "item_age", "category")
_CHART_OF = {"split": "splits", "decision_time": "decision_times"}


def page(document: Mapping[str, Any]) -> str:
    """Return a self-contained HTML page; it asks nothing of a network.

    Args:
        document: report.json of a training: `OfflineReport.to_dict()`, and as far as they are there model_version,
            problem, business_issue, known_at, splits, train_rows, importance (feature to percent), correlation,
            reliability, ablation (block to columns, metric, ratio), data_digest, versions and digests (name to text).

    Returns:
        HTML; the same for the same document.
    """
    drawn = {name: _inline(name, svg) for name, svg in _drawn(document).items()}
    title = text(document.get("model_version", "Offline evaluation"))
    issue = document.get("business_issue")
    body = [
        f"<header><h1>{title}</h1>" + (f'<p class="issue">{text(issue)}</p>' if issue else "") + "</header>",
        sections.verdict(document),
        sections.asked(document),
        sections.remarks(document),
        sections.metrics(document, drawn.get("metrics", "")),
        *(sections.segments(document, group, drawn.get(_CHART_OF.get(group, group), "")) for group in _GROUPS),
        sections.beyond(document),
        sections.candidates(document, drawn.get("candidates", "")),
        sections.probabilities(document, drawn.get("reliability", "")),
        features(document, drawn),
        section("How to read it", listed(map(text, conventions(document["kind"])))),
        sections.provenance(document),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style.PAGE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def pictures(document: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the page's pictures by file name, as SVG on white; the same for the same document."""
    return {f"{name}.svg": _on_white(svg).encode() for name, svg in _drawn(document).items()}


def _drawn(document: Mapping[str, Any]) -> Mapping[str, str]:
    return _drawn_text(json.dumps(document))


@lru_cache(maxsize=1)
def _drawn_text(document: str) -> Mapping[str, str]:
    """Draw once what is asked for as a page and as pictures: it takes a second or two."""
    return charts(json.loads(document))


def _inline(name: str, svg: str) -> str:
    """Put a drawing into the page, whose ink it takes."""
    told = text(name.replace("_", " "))
    return f'<figure role="img" aria-label="{told}">{svg.replace(INK, "currentColor")}</figure>'


def _on_white(svg: str) -> str:
    """Put a white sheet under a drawing."""
    start = svg.index(">") + 1
    return f'{svg[:start]}<rect width="100%" height="100%" fill="#ffffff"/>{svg[start:]}'
