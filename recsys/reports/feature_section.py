"""What does the page say of the features: which blocks are worth something, what the model leans on, what is alike?"""

from collections.abc import Mapping

from recsys.reports.drawing import Document
from recsys.reports.markup import folded, interval, listed, number, paragraph, section, table, text, value_at


def features(document: Document, charts: Mapping[str, str]) -> str:
    """Show what the model leans on: importance, ablation, correlation."""
    blocks = document.get("ablation") or {}
    ablated = ""
    if blocks:
        rows = [
            [text(name), interval(each["metric"]), interval(each["ratio"], 3), number(len(each["columns"]))]
            for name, each in blocks.items()
        ]
        metric = text(value_at(document, "gate", "metric"))
        told = paragraph(
            "The newest fit, repeated without each block of features: below 1 the block is worth something beside the"
            " others."
        )
        columns = listed(f"{text(name)}: {', '.join(map(text, each['columns']))}" for name, each in blocks.items())
        ablated = (
            told
            + charts.get("ablation", "")
            + table(["without", metric, "by the whole model's", "columns"], rows)
            + folded("Columns of the blocks", columns)
        )
    importance = document.get("importance") or {}
    ranked = sorted(importance.items(), key=lambda pair: (-pair[1], pair[0]))
    shares = table(["feature", "importance, %"], [[text(name), number(value, 2)] for name, value in ranked])
    leaned = charts.get("importance", "") + folded("All features", shares) if importance else ""
    return section("What the model leans on", ablated, leaned, _correlations(document, charts.get("correlation", "")))


def _correlations(document: Document, chart: str) -> str:
    found = document.get("correlation")
    if not found:
        return ""
    pairs = [[text(first), text(second), number(value, 3)] for first, second, value in found["pairs"]]
    alike = folded(
        f"Features that say nearly the same: rank correlation beyond {number(found['threshold'], 2)}",
        table(["feature", "and", "correlation"], pairs) if pairs else "",
    )
    moves = {name: value for name, value in (found.get("label") or {}).items() if value is not None}
    ranked = sorted(moves.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    with_label = folded(
        "All correlations with the label",
        table(["feature", "correlation"], [[text(name), number(value, 3)] for name, value in ranked]) if ranked else "",
    )
    return chart + with_label + paragraph(f"Rank correlations on {number(found['rows'])} rows.") + alike
