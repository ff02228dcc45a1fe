"""What do the figures of an experiment look like? One chart a question; the same document gives the same bytes."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from recsys.reports.drawing import COLOURS, INK, Document, Makers, drawn, named_rows, new_figure, whisker
from recsys.reports.markup import IntervalValues

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIXED: Final = COLOURS[0]
_ALWAYS: Final = "#91a7ff"
_FIXED_BAND: Final[Any] = {"facecolor": "#4263ebb0", "linewidth": 0}
_ALWAYS_BAND: Final[Any] = {"facecolor": "none", "edgecolor": _ALWAYS, "hatch": "////", "linewidth": 1.2}
"""A full band and a hatched one, which are told apart on paper of any lightness, and without colours."""
_BEYOND: Final = 0.5
"""Bounds valid at every look are drawn so far beyond the fixed ones, by the width of these and 0."""


def experiment_charts(document: Document) -> dict[str, str]:
    """Draw what a document has figures for.

    Args:
        document: of `recsys evaluate`.

    Returns:
        Name to SVG without a background, in a fixed order.
    """
    makers: Makers = {
        "effects": _effects,
        "cumulative": _cumulative,
        "daily": _daily,
        "funnel": _funnel,
    }
    return drawn(makers, document)


def shown_effects(document: Document) -> Iterator[Mapping[str, Any]]:
    """Yield each metric of each treatment once, in its first role."""
    seen = set()
    for found in document["analysis"]["effects"]:
        key = (found["treatment_arm"], found["effect"]["metric"])
        if key not in seen:
            seen.add(key)
            yield found


def _effects(document: Document) -> "Figure | None":
    """Relative effects, fixed and always-valid."""
    found = [each for each in shown_effects(document) if each["effect"]["relative"]["lower"] is not None]
    if not found:
        return None
    several = len({each["treatment_arm"] for each in found}) > 1
    figure, (axes,) = new_figure(8, 1.1 + 0.36 * len(found))
    reach = _reach([(each["effect"]["relative"], each["always_relative"]) for each in found])
    for place, each in enumerate(found):
        whisker(axes, place, _percent(each["always_relative"], reach[1]), _ALWAYS)
        fixed = _percent(each["effect"]["relative"], reach[1])
        estimate, lower, upper = (_known(fixed[name]) for name in ("estimate", "lower", "upper"))
        axes.plot([lower, upper], [place, place], color=_FIXED, linewidth=5, solid_capstyle="butt")
        axes.plot(estimate, place, "o", color=INK, markersize=5)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xlim(*reach)
    names = [each["effect"]["metric"] + (f" of {each['treatment_arm']}" if several else "") for each in found]
    named_rows(axes, names)
    axes.set_title("relative effect, %", loc="left")
    fixed_line = axes.plot([], [], color=_FIXED, linewidth=5, solid_capstyle="butt")
    _legend(figure, [*fixed_line, *axes.plot([], [], color=_ALWAYS, linewidth=2)])
    return figure


def _cumulative(document: Document) -> "Figure | None":
    """The effect on the primary metric as requests came in."""
    points = [each for each in document["analysis"].get("cumulative") or [] if each["relative"]["lower"] is not None]
    arms = list(dict.fromkeys(each["treatment_arm"] for each in points))
    if len(points) < 2 * len(arms) or not arms:
        return None
    figure, panels = new_figure(8, 2.8 * len(arms), len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        mine = [each for each in points if each["treatment_arm"] == arm]
        moments = [datetime.fromisoformat(each["end"]) - timedelta(days=1) for each in mine]
        later = mine[len(mine) // 3 :]
        reach = _reach([(each["relative"], each["always_relative"]) for each in later])
        for name, look in (("always_relative", _ALWAYS_BAND), ("relative", _FIXED_BAND)):
            drawn_as = [_percent(each[name], reach[1]) for each in mine]
            bounds = [[_known(each[bound]) for each in drawn_as] for bound in ("lower", "upper")]
            axes.fill_between(moments, *bounds, **look)  # type: ignore[arg-type]
        axes.plot(moments, [100 * _known(each["relative"]["estimate"]) for each in mine], "o-", color=INK, markersize=3)  # type: ignore[arg-type]
        axes.axhline(0, color=INK, linewidth=1)
        axes.set_ylim(*reach)
        axes.set_title(f"effect on {_primary(document)} of {arm} up to each day, %", loc="left")
        _days(axes, moments)
    _legend(figure, [panels[0].fill_between([], [], **look) for look in (_FIXED_BAND, _ALWAYS_BAND)])
    return figure


def _daily(document: Document) -> "Figure | None":
    """The primary metric of each arm, day by day."""
    analysis, metric = document["analysis"], _primary(document)
    points = [each for each in analysis["daily"] if each["means"].get(metric) is not None]
    arms = [each["arm"] for each in analysis["arms"]]
    if len({each["start"] for each in points}) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    figure, (axes,) = new_figure(8, 2.6)
    for arm, colour in zip(arms, (COLOURS * len(arms))[: len(arms)], strict=True):
        mine = [each for each in points if each["arm"] == arm]
        moments = [datetime.fromisoformat(each["start"]) for each in mine]
        heights = [each["means"][metric] for each in mine]
        axes.plot(moments, heights, "o-", color=colour, markersize=4, label=arm)  # type: ignore[arg-type]
    _days(axes, [datetime.fromisoformat(each["start"]) for each in points])
    axes.set_title(f"{metric} by day of the request", loc="left")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _funnel(document: Document) -> "Figure | None":
    """What came of the slots that each arm showed."""
    arms = [each for each in document["analysis"]["arms"] if (each.get("funnel") or {}).get("impressions")]
    stages = list(arms[0]["funnel"])[1:] if arms else []
    if not stages:
        return None
    gap = len(arms) + 0.6
    figure, (axes,) = new_figure(8, 0.9 + 0.26 * gap * len(stages))
    for number, (arm, colour) in enumerate(zip(arms, (COLOURS * len(arms))[: len(arms)], strict=True)):
        shares = [100 * arm["funnel"][stage] / arm["funnel"]["impressions"] for stage in stages]
        places = [gap * place + number for place in range(len(stages))]
        axes.barh(places, shares, height=0.9, color=colour, label=arm["arm"])
        for place, share, stage in zip(places, shares, stages, strict=True):
            told = f" {share:.2f} ({arm['funnel'][stage]:,})"
            axes.annotate(told, (share, place), va="center", fontsize=8)
    axes.set_yticks([gap * place + (len(arms) - 1) / 2 for place in range(len(stages))], stages)
    axes.set_ylim(gap * len(stages) - 0.6, -0.8)
    axes.margins(x=0.3)
    axes.grid(visible=False, axis="y")
    axes.set_title("of 100 items shown, those with the event (in brackets: of all items shown)", loc="left")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _reach(bounds: Sequence[tuple[IntervalValues, IntervalValues]]) -> tuple[float, float]:
    """Return the percents that an axis shows: 0, the fixed bounds, and of the always-valid ones what is near them."""
    fixed, always = (
        [100 * value for pair in bounds for value in pair[number].values() if value is not None] for number in (0, 1)
    )
    low, high = min(0.0, *fixed), max(0.0, *fixed)
    width = (high - low) or 1.0
    lowest = max(low - _BEYOND * width, min([low, *always]))
    highest = min(high + _BEYOND * width, max([high, *always]))
    return lowest - 0.05 * width, highest + 0.05 * width


def _primary(document: Document) -> str:
    return str(next(each for each in document["analysis"]["effects"] if each["role"] == "primary")["effect"]["metric"])


def _legend(figure: "Figure", handles: "Sequence[Artist]") -> None:
    """Name the two kinds of interval, each by a sample of how it is drawn."""
    names = ["fixed, for one look", "valid at every look"]
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)


def _days(axes: "Axes", moments: Sequence[datetime]) -> None:
    """Name at most a dozen days."""
    days = sorted(set(moments))
    shown = days[:: -(-len(days) // 12)]
    axes.set_xticks(shown, [f"{day:%d %b}" for day in shown])  # type: ignore[arg-type]


def _percent(values: IntervalValues, end: float) -> dict[str, float | None]:
    """Return percents; an interval without an upper bound is drawn to the end of the axis."""
    found = {name: None if value is None else 100 * value for name, value in values.items()}
    return found | ({"upper": end} if found["lower"] is not None and found["upper"] is None else {})


def _known(value: float | None) -> float:
    return float("nan") if value is None else value
