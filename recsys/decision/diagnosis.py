"""Where is the trouble: in features, model, stage of the problem, page or assortment, and what is to be done next?

Three signals, each good, bad or unclear: the model's offline metric on matured labels, clicks, and orders. `TABLE` says
what each combination of good and bad means; evidence beside it (skew, drift, lost lists, candidates) says more exactly
which part is to blame. Where a signal is unclear, only that is claimed which all combinations say that it could
turn out to be, and the next step is what would make it clear. Of a shop that has no clicks they are none: that is no
doubt that could be cleared, and what model and orders say decides (`WITHOUT_CLICKS`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from recsys.statistics.bootstrap import Interval

Signal = Literal["good", "bad", "unclear", "none"]
"""None where there is nothing to look at and never will be: clicks of a problem with no stage before its target."""


class Trouble(StrEnum):
    """Where it lies."""

    NONE = "none"
    MEASUREMENT = "measurement"
    """The experiment's own machinery: its figures may not be read."""
    FEATURES = "features"
    """What is served is not what was learned from, or has moved since."""
    MODEL = "model"
    STAGE = "stage of the problem"
    """What is predicted is not what is wanted: the label is of a stage that does not carry the gain on."""
    PAGE = "page"
    """What happens to a list after it left: where it stands, whether it is seen, what is logged of it."""
    ASSORTMENT = "assortment"
    """What there is to choose from: items, stock, prices, candidate sources."""
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Cell:
    """What one combination means."""

    trouble: Trouble
    meaning: str
    next_steps: tuple[str, ...]
    """One sentence each; {name} is what is diagnosed, {version} the model version."""


_WHY: Final = "`recsys why REQUEST_ID` of some bad lists: do features, items and scores come out the same?"

TABLE: Final[Mapping[tuple[Signal, Signal, Signal], Cell]] = {
    ("good", "good", "good"): Cell(Trouble.NONE, "the model is good, and people click and order", ()),
    ("good", "good", "bad"): Cell(
        Trouble.STAGE,
        "what the model puts first is clicked and not ordered: the gain is lost after the click",
        (
            "Compare the funnel from click to order by arm: which stage loses the gain?",
            "Look at price and stock of the items that are clicked and not ordered.",
            "Declare a version whose target is the later stage.",
        ),
    ),
    ("good", "bad", "good"): Cell(
        Trouble.PAGE,
        "people order what the model expects, and not by way of the list",
        (
            "Look at the page: is the list seen, at which place, and are its clicks logged?",
            "Compare clicks by position with those of the default list.",
        ),
    ),
    ("good", "bad", "bad"): Cell(
        Trouble.STAGE,
        "what is good on past weeks does nothing for those who see it: the offline metric rewards what people would"
        " have taken anyway, or does not see what the page does to a list",
        (
            "Compare the metric at fewer slots, and on items that a unit never took: is there a gain beyond repeats?",
            "Learn from lists that were shown (`negatives: {{source: shown}}`), which carry the page's bias openly.",
            _WHY,
        ),
    ),
    ("bad", "good", "good"): Cell(
        Trouble.MODEL,
        "people click and order more while the offline metric is bad: it does not measure what helps, or what is new"
        " draws them for a while",
        (
            "`recsys dataset check --model-version {version}`: are the labels what the events say?",
            "Look at the cumulative effect: does it fade, as with what is only new?",
            "Do not promote on the offline metric; change the metric or the label before the next version.",
        ),
    ),
    ("bad", "good", "bad"): Cell(
        Trouble.MODEL,
        "the list draws clicks and the model does not know what is ordered",
        (
            "Train {version}'s successor on the later stage, and compare by `recsys compare`.",
            "Look whether clicks fall on the first slots whatever stands there.",
        ),
    ),
    ("bad", "bad", "good"): Cell(
        Trouble.MODEL,
        "orders hold up by themselves: the list does not carry them",
        (
            "Retrain {version} on the newest weeks and compare it with the one in service.",
            "Look in the funnel how many orders pass through the list at all.",
        ),
    ),
    ("bad", "bad", "bad"): Cell(
        Trouble.MODEL,
        "the model is bad offline, and so are its lists",
        (
            "Retrain {version} on the newest weeks; if its gate fails, `recsys rollback` to the champion before.",
            "`recsys drift {version}`: which columns and weeks moved?",
        ),
    ),
}


WITHOUT_CLICKS: Final[Mapping[tuple[Signal, Signal], Cell]] = {
    ("good", "good"): Cell(Trouble.NONE, "the model is good, and people order", ()),
    ("good", "bad"): TABLE["good", "bad", "bad"],
    ("bad", "good"): TABLE["bad", "bad", "good"],
    ("bad", "bad"): TABLE["bad", "bad", "bad"],
}
"""Model and orders, where the problem has no clicks: what is lost after a click cannot be told from what never was."""


@dataclass(frozen=True)
class Evidence:
    """What was found beside the three signals; None where it could not be looked at."""

    invalid: tuple[str, ...] = ()
    """Failures of the experiment's health."""
    skewed: str | None = None
    """The worst cause of skew, where the rows that differ are beyond the monitor's limit."""
    drifted: tuple[str, ...] = ()
    """Columns that moved beyond the monitor's limits."""
    given_up: float | None = None
    """Share of the lists that some step of the fallback ladder answered."""
    recall_then: Interval | None = None
    """Of all candidate sources together, when the model was judged."""
    recall_now: Interval | None = None
    campaign: bool = False
    """Whether the lists are of units: nobody clicks on one, and what a contact adds is for a holdout to say."""


@dataclass(frozen=True)
class Diagnosis:
    """Where the trouble is, and what is to be done next."""

    trouble: Trouble
    cell: tuple[Signal, Signal, Signal]
    """Model, clicks, orders."""
    reason: str
    next_steps: tuple[str, ...]
    evidence: Evidence = field(default_factory=Evidence)


GIVEN_UP: Final = 0.05
"""From this share of lists by a fallback on, what people saw was not the model's."""


def diagnose(
    model: Signal, clicks: Signal, orders: Signal, evidence: Evidence, *, name: str, version: str
) -> Diagnosis:
    """Say where the trouble is.

    In this order: an experiment that is not healthy says nothing; where all is good there is no trouble; lists by a
    fallback are the page's, skew is the features'; a bad model whose columns moved is the features' too, and one whose
    candidates find less of what is taken is the assortment's; else the table.

    Args:
        model: its offline metric on matured labels.
        clicks: of those who saw the lists; none where the problem has no stage before its target.
        orders: likewise.
        evidence: what else was found.
        name: the experiment or model.
        version: the model version.
    """
    cell = (model, clicks, orders)
    trouble, reason, steps = _found(cell, evidence)
    words = {"name": name, "version": version}
    return Diagnosis(trouble, cell, reason, tuple(step.format(**words) for step in steps), evidence)


def signal(interval: Interval) -> Signal:
    """Return what an effect says, larger being better: good surely above 0, bad surely below."""
    if interval.lower > 0:
        return "good"
    return "bad" if interval.upper < 0 else "unclear"


def _found(cell: tuple[Signal, Signal, Signal], evidence: Evidence) -> tuple[Trouble, str, tuple[str, ...]]:
    if evidence.invalid:
        steps = ("Find the cause of each sentence, repair it, and run a new experiment with a new seed.",)
        return Trouble.MEASUREMENT, "the experiment is not healthy: " + " ".join(evidence.invalid), steps
    fine = _cells(cell).get(cell)
    if fine is not None and fine.trouble == Trouble.NONE:
        return fine.trouble, fine.meaning, fine.next_steps
    found = _by_evidence(cell[0], evidence)
    if found is not None:
        return found
    return _by_table(cell, _OF_UNITS if evidence.campaign else _CLEARER)


def _by_table(
    cell: tuple[Signal, Signal, Signal], clearer_by: tuple[str, str, str]
) -> tuple[Trouble, str, tuple[str, ...]]:
    """Return what the cell says; where a signal is unclear, what all cells say that it could turn out to be.

    Args:
        cell: model, clicks, orders.
        clearer_by: for each, what would make it clear; empty where nothing would.
    """
    possible = [
        found
        for key, found in _cells(cell).items()
        if all(said in {one, "unclear"} for one, said in zip(key, cell, strict=True))
    ]
    if len(possible) == 1:
        return possible[0].trouble, possible[0].meaning, possible[0].next_steps
    clearer = tuple(step for step, said in zip(clearer_by, cell, strict=True) if said == "unclear" and step)
    if len({each.trouble for each in possible}) == 1:
        meanings = "; or ".join(each.meaning for each in possible)
        steps = dict.fromkeys(step for each in possible for step in each.next_steps[:1])
        return possible[0].trouble, f"{_unclear(cell)} to say which of these: {meanings}", (*steps, *clearer)
    return Trouble.UNCLEAR, f"{_unclear(cell)} for a claim", clearer


def _cells(cell: tuple[Signal, Signal, Signal]) -> Mapping[tuple[Signal, Signal, Signal], Cell]:
    """Return the table that holds: the one without clicks where there are none."""
    if cell[1] != "none":
        return TABLE
    return {(model, "none", orders): found for (model, orders), found in WITHOUT_CLICKS.items()}


def _by_evidence(model: Signal, evidence: Evidence) -> tuple[Trouble, str, tuple[str, ...]] | None:
    """Return the part that evidence points at, if any does."""
    if evidence.given_up is not None and evidence.given_up > GIVEN_UP:
        reason = f"{evidence.given_up:.1%} of the lists were answered by a fallback: people did not see the model's"
        return Trouble.PAGE, reason, ("Look at /metrics and the service's log: which store or time-out gave up?",)
    if evidence.skewed:
        reason = f"what answered was not what the offline tables give: {evidence.skewed}"
        return (
            Trouble.FEATURES,
            reason,
            ("`recsys skew {name}`: repair the cause that it names, then look again.", _WHY),
        )
    if model == "bad" and evidence.drifted:
        more = len(evidence.drifted) - _NAMED
        moved = ", ".join(evidence.drifted[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        reason = f"the model is bad on rows unlike those that it learned from: {moved} moved"
        return Trouble.FEATURES, reason, _DRIFTED
    then, now = evidence.recall_then, evidence.recall_now
    if model == "bad" and then is not None and now is not None and now.upper < then.lower:
        reason = (
            f"the candidates hold {now.estimate:.3f} of what is taken, and held {then.estimate:.3f}: no order of them"
            " can make up for that"
        )
        return Trouble.ASSORTMENT, reason, _FEWER
    return None


def _unclear(cell: tuple[Signal, Signal, Signal]) -> str:
    names = ("the model", "clicks", "orders")
    parts = [f"{name} {'are' if name != 'the model' else 'is'} {said}" for name, said in zip(names, cell, strict=True)]
    return f"{', '.join(parts)}: not enough"


_DRIFTED: Final = (
    "Find out whether the shop or the pipeline moved: `recsys drift {version}` has the weeks.",
    "If the shop did, retrain {version}; if the pipeline did, repair it and build the features again.",
)
_FEWER: Final = ("Look at what is taken and was no candidate: new items, another season, items out of the pool?",)
_NAMED: Final = 5
"""Columns that moved are named in a sentence at most; `recsys drift` has the others."""
_MORE_WEEKS: Final = (
    "Model: wait for labels to mature, or judge on more weeks (`weeks` of the monitor), then `recsys drift {version}`."
)
_CLEARER: Final = (
    _MORE_WEEKS,
    "Clicks: declare a metric that counts them, or wait for more units; `recsys experiment power` says how many.",
    "Orders: wait for more units; `recsys experiment power` says how many the effect takes.",
)
_OF_UNITS: Final = (
    _MORE_WEEKS,
    "",
    (
        "Orders: hold some units out (`holdouts` of the audience), log what was sent (`recsys log sent FOLDER`), and"
        " compare what both do: what units do by themselves is in the model's figures too."
    ),
)
