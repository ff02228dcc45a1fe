"""What do the figures of an offline evaluation look like?

One chart a question. The same document gives the same bytes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from recsys.reports.drawing import (
    COLOURS,
    INK,
    MODEL,
    MODEL_COLOUR,
    Document,
    Makers,
    colours,
    drawn,
    label,
    named_rows,
    new_figure,
    whisker,
)
from recsys.reports.markup import IntervalValues, value_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST: Final = 20
"""So many features at most are drawn; tables have all."""


def charts(document: Document) -> dict[str, str]:
    """Draw what a document has figures for.

    Args:
        document: report.json of a training.

    Returns:
        Name to SVG without a background, in a fixed order.
    """
    makers: Makers = {
        "metrics": _metrics,
        "splits": lambda found: _over_time(found, "split"),
        "decision_times": lambda found: _over_time(found, "decision_time"),
        "activity": lambda found: _by_segment(found, "activity"),
        "item_age": lambda found: _by_segment(found, "item_age"),
        "category": lambda found: _by_segment(found, "category"),
        "candidates": _candidates,
        "reliability": _reliability,
        "ablation": _ablation,
        "importance": _importance,
        "correlation": _correlation,
    }
    return drawn(makers, document)


# ---------------------------------------------------------------- intervals beside each other


def _metrics(document: Document) -> "Figure | None":
    """Every metric of every ranker."""
    metrics = value_at(document, "metrics")
    if not metrics:
        return None
    rankers, names = list(metrics), list(metrics[MODEL])
    rows = -(-len(names) // 2)
    figure, panels = new_figure(8, rows * (0.55 + 0.24 * len(rankers)) + 0.2, rows, min(2, len(names)))
    colour_of = colours(rankers)
    for axes, name in zip(panels, names, strict=False):
        for place, ranker in enumerate(rankers):
            whisker(axes, place, metrics[ranker][name], colour_of[ranker])
        named_rows(axes, [label(document, ranker) for ranker in rankers])
        axes.set_title(name, loc="left")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return figure


def _over_time(document: Document, group: str) -> "Figure | None":
    """The gate's metric, split by split or decision time by decision time."""
    segments, metric = value_at(document, "segments", group), value_at(document, "gate", "metric")
    if not segments or len(segments) < 2 or metric not in segments[0]["metrics"][MODEL]:  # noqa: PLR2004
        return None
    rankers = list(segments[0]["metrics"])
    figure, (axes,) = new_figure(8, 3)
    for number, (ranker, colour) in enumerate(colours(rankers).items()):
        if ranker not in rankers:
            continue
        shift = (number - (len(rankers) - 1) / 2) * 0.08
        found = [segment["metrics"][ranker][metric] for segment in segments]
        for place, values in enumerate(found):
            whisker(axes, place + shift, values, colour, upright=True)
        places = [place + shift for place in range(len(found))]
        heights = [float("nan") if values["estimate"] is None else values["estimate"] for values in found]
        axes.plot(places, heights, color=colour, linewidth=1, alpha=0.6, label=label(document, ranker))
    turned = 30 if len(segments) > 8 else 0  # noqa: PLR2004
    axes.set_xticks(range(len(segments)), [segment["name"] for segment in segments], rotation=turned)
    axes.set_title(f"{metric} by {group.replace('_', ' ')}", loc="left")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _by_segment(document: Document, group: str) -> "Figure | None":
    """One metric in each segment: the gate's where a segment has it, else recall at the same size."""
    segments = value_at(document, "segments", group)
    metric = segment_metric(document, group)
    if not segments or metric is None:
        return None
    rankers = list(segments[0]["metrics"])
    colour_of = colours(rankers)
    gap = len(rankers) + 1
    figure, (axes,) = new_figure(8, 0.9 + 0.15 * gap * len(segments))
    for number, segment in enumerate(segments):
        for place, ranker in enumerate(rankers):
            whisker(axes, number * gap + place, segment["metrics"][ranker][metric], colour_of[ranker])
    middle = (len(rankers) - 1) / 2
    axes.set_yticks([number * gap + middle for number in range(len(segments))], [each["name"] for each in segments])
    axes.set_ylim(len(segments) * gap - 1.5, -1)
    axes.grid(visible=False, axis="y")
    axes.set_title(f"{metric} by {group.replace('_', ' ')}", loc="left")
    for ranker in rankers:
        axes.plot([], [], "o", color=colour_of[ranker], markersize=5, label=label(document, ranker))
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def segment_metric(document: Document, group: str) -> str | None:
    """Return the metric that a group of segments is shown by, or None where it has none that fits."""
    segments, gate = value_at(document, "segments", group), value_at(document, "gate", "metric")
    if not segments or not gate:
        return None
    has = segments[0]["metrics"][MODEL]
    size = gate.partition("@")[2].partition("/")[0]
    wanted = (gate, gate.partition("/")[0], f"recall@{size}")
    return next((name for name in wanted if name in has), next(iter(has), None))


def _ablation(document: Document) -> "Figure | None":
    """What is left of the gate's metric without each block of features."""
    blocks = value_at(document, "ablation")
    if not blocks:
        return None
    figure, (axes,) = new_figure(8, 0.9 + 0.28 * len(blocks))
    for place, block in enumerate(blocks.values()):
        whisker(axes, place, block["ratio"], MODEL_COLOUR)
    axes.axvline(1.0, color=INK, linewidth=1, linestyle="--")
    named_rows(axes, [f"without {name}" for name in blocks])
    axes.set_title(f"{value_at(document, 'gate', 'metric')} without the block, by the whole model's", loc="left")
    return figure


# ---------------------------------------------------------------- bars


def _candidates(document: Document) -> "Figure | None":
    """What each source of candidates found, and what no other source did."""
    sources = value_at(document, "candidates")
    if not sources:
        return None
    figure, (axes,) = new_figure(8, 1.0 + 0.3 * len(sources))
    places = range(len(sources))
    axes.barh(places, [_zero(each["share"]) for each in sources], color=COLOURS[0], alpha=0.45, label="found")
    alone = [0.0 if each["source"] == "union" else _zero(each["only"]) for each in sources]
    axes.barh(places, alone, color=COLOURS[0], label="found by no other source")
    named_rows(axes, [each["source"] for each in sources])
    axes.set_title("share of all taken items that were candidates", loc="left")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _zero(values: IntervalValues) -> float:
    return values["estimate"] or 0.0


def _importance(document: Document) -> "Figure | None":
    """The features that the model leans on most."""
    importance = value_at(document, "importance")
    return _bars(importance, "importance, % of the model's", signed=False) if importance else None


def _correlation(document: Document) -> "Figure | None":
    """The features that move with the label most."""
    moves = {name: value for name, value in (value_at(document, "correlation", "label") or {}).items() if value}
    return _bars(moves, "rank correlation with the label", signed=True) if moves else None


def _bars(values: Mapping[str, float], title: str, *, signed: bool) -> "Figure":
    largest = sorted(values.items(), key=lambda pair: (-abs(pair[1]), pair[0]))[:_LARGEST]
    figure, (axes,) = new_figure(8, 0.7 + 0.22 * len(largest))
    bars = [COLOURS[0] if value >= 0 else COLOURS[6] for _, value in largest] if signed else COLOURS[0]
    axes.barh(range(len(largest)), [value for _, value in largest], color=bars, height=0.7)
    named_rows(axes, [name for name, _ in largest])
    axes.set_title(title, loc="left")
    return figure


def _reliability(document: Document) -> "Figure | None":
    """Predicted probabilities beside what came of them."""
    bins = value_at(document, "reliability", "bins")
    if not bins:
        return None
    figure, (axes,) = new_figure(5, 4)
    top = max(max(each["predicted"], each["observed"]["upper"]) for each in bins) * 1.05
    axes.plot([0, top], [0, top], color=INK, linewidth=1, linestyle="--", label="as predicted")
    for each in bins:
        whisker(axes, each["predicted"], each["observed"], MODEL_COLOUR, upright=True)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("mean predicted probability")
    axes.set_ylabel("share that acted")
    axes.legend(frameon=False, loc="upper left")
    return figure
