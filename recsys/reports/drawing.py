"""With which pen are charts drawn: style, colours, intervals, and SVG that is the same each time?

By matplotlib without its global state. Ink is one colour, so that a page can let it follow its own.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from recsys.reports.markup import IntervalValues

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Document = Mapping[str, Any]
Makers = Mapping[str, "Callable[[Document], Figure | None]"]
"""Name of a chart to what draws it, or says that the document has nothing for it."""

INK: Final = "#24292f"
_NIGHT_INK: Final = "#e6edf3"
MODEL: Final = "model"
_CHAMPION: Final = "champion"
MODEL_COLOUR: Final = "#e8590c"
COLOURS: Final = ("#4263eb", "#0ca678", "#9c36b5", "#868e96", "#f08c00", "#1098ad", "#c2255c", "#74b816")
_STYLE: Final[Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#8c959f",
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
    "figure.max_open_warning": 0,
}
_NO_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in our style, whatever matplotlib's is, and leave that as it was."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def drawn(makers: Makers, document: Document) -> dict[str, str]:
    """Draw what a document has figures for: name to SVG without a background, in the order of the makers."""
    found = {}
    with styled():
        for name, make in makers.items():
            figure = make(document)
            if figure is not None:
                found[name] = to_svg(figure)
    return found


def to_svg(figure: "Figure") -> str:
    """Return a figure as SVG without a background."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata=_NO_METADATA)
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # Groups are named by their place in the drawing, which is not unique in a page of several.
    return re.sub(r'<g id="[^"]*"', "<g", drawing)


def themed(svg: str) -> str:
    """Return a drawing as a picture of its own, whose ink follows the day and the night of whoever looks at it."""
    start = svg.index(">") + 1
    style = f"svg {{ color: {INK} }} @media (prefers-color-scheme: dark) {{ svg {{ color: {_NIGHT_INK} }} }}"
    return f"{svg[:start]}<style>{style}</style>{svg[start:].replace(INK, 'currentColor')}"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """Return a figure of some inches and its panels, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def colours(rankers: Sequence[str]) -> dict[str, str]:
    """Give each ranker its colour, the same in every chart."""
    others = [ranker for ranker in rankers if ranker != MODEL]
    found = {ranker: COLOURS[place % len(COLOURS)] for place, ranker in enumerate(others)}
    return {MODEL: MODEL_COLOUR} | found


def label(document: Document, ranker: str) -> str:
    """Return how a ranker is called: the model by its version, the champion as that of then: another may be it now."""
    if ranker == _CHAMPION:
        then = document.get("champion")
        return f"champion then ({then})" if then else "champion at training"
    return str(document.get("model_version", ranker)) if ranker == MODEL else ranker


def whisker(axes: "Axes", place: float, values: IntervalValues, colour: str, *, upright: bool = False) -> None:
    """Draw an estimate as a dot and its bounds as a line; nothing where there is no estimate."""
    estimate, lower, upper = values["estimate"], values["lower"], values["upper"]
    if estimate is None:
        return
    if lower is not None and upper is not None:
        ends, across = ([lower, upper], [place, place])
        axes.plot(*((across, ends) if upright else (ends, across)), color=colour, linewidth=2, solid_capstyle="round")
    axes.plot(*((place, estimate) if upright else (estimate, place)), "o", color=colour, markersize=5)


def named_rows(axes: "Axes", names: Sequence[str]) -> None:
    """Name the rows of a chart, the first one on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
