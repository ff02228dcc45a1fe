"""What is true of a shop, whatever was drawn?

Rates are computed from the probabilities behind every slot that was shown, effects from the declaration.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.funnel import Effects, Sums, reached, with_effects
from recsys.simulation.pages import Relation, examination
from recsys.simulation.population import Users
from recsys.simulation.visits import day_weights, expected_sessions
from recsys.specs.simulated_trial import STAGES, SimulatedArm, Stage
from recsys.specs.simulation import Simulation

NO_ARM: Final = -1
"""Stands for pages outside the trial and its arms."""


@dataclass
class Truth:
    """Sums over the blocks of a shop, added in their order."""

    simulation: Simulation
    all_pages: Sums = field(default_factory=Sums)
    of_arm: list[Sums] = field(default_factory=list)
    """Pages of each arm's own users in the trial, with the arm's effects."""
    if_all_had: list[Sums] = field(default_factory=list)
    """All pages in the trial's span, as if every user were in the arm; last, as if none were in any."""
    relations: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Relation), dtype=np.int64))
    """Shown slots by what their items were to the user."""
    sessions: float = 0.0
    """Expected sessions."""
    users: dict[str, int] = field(default_factory=dict)
    """Users of each segment."""
    arm_users: dict[str, int] = field(default_factory=dict)
    """Users that the hash puts into each arm, whether they come or not."""

    def __post_init__(self) -> None:
        """Begin with nothing."""
        trial = self.simulation.trial
        self.users = dict.fromkeys(self.simulation.segments, 0)
        self.arm_users = dict.fromkeys(trial.arms if trial else (), 0)
        self.of_arm = [Sums() for _ in self.arm_users]
        self.if_all_had = [Sums() for _ in (*self.arm_users, None)] if trial else []

    def add_users(self, users: Users, arm: NDArray[np.int64]) -> None:
        """Add a block's users and their arms."""
        self.sessions += float(expected_sessions(self.simulation, users).sum())
        for number, name in enumerate(self.users):
            self.users[name] += int((users.segment == number).sum())
        for number, name in enumerate(self.arm_users):
            self.arm_users[name] += int((arm == number).sum())

    def add_pages(
        self,
        base: dict[Stage, NDArray[np.float64]],
        relation: NDArray[np.int8],
        arm: NDArray[np.int64],
        in_trial: NDArray[np.bool_],
    ) -> None:
        """Add some pages.

        Args:
            base: rates outside every arm, (pages, slots).
            relation: what the items were to the user, (pages, slots).
            arm: each page's arm in the trial's order, or `NO_ARM`, (pages,).
            in_trial: whether the page lies in the trial's span, (pages,).
        """
        effects = Effects.of(self.simulation)
        own = reached(with_effects(base, effects, arm))
        self.all_pages.add(own)
        self.relations += np.bincount(relation.ravel(), minlength=len(Relation))
        for number, sums in enumerate(self.of_arm):
            sums.add({stage: own[stage][arm == number] for stage in STAGES})
        during = {stage: base[stage][in_trial] for stage in STAGES}
        for number, sums in enumerate(self.if_all_had):
            sums.add(reached(with_effects(during, effects, number)))

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        simulation = self.simulation
        orders = simulation.orders
        shown = self.relations / max(1, int(self.relations.sum()))
        return {
            "seed": simulation.seed,
            "sessions": {"expected": self.sessions, "day_weights": day_weights(simulation).tolist()},
            "segments": {name: {"users": count} for name, count in self.users.items()},
            "funnel": {
                **self.all_pages.document(),
                "examination": examination(simulation.page).tolist(),
                "shown": {each.name.lower(): float(shown[each]) for each in Relation},
            },
            "orders": {
                "late": orders.late,
                "cancelled": orders.cancelled,
                "mean_quantity": 1 / (1 - orders.more_than_one),
            },
            "trial": self._trial(),
        }

    def _trial(self) -> dict[str, Any] | None:
        trial, span = self.simulation.trial, self.simulation.trial_span()
        if trial is None or span is None:
            return None
        *of_arms, without = self.if_all_had
        arms = {}
        for (name, arm), own, everywhere in zip(trial.arms.items(), self.of_arm, of_arms, strict=True):
            arms[name] = {
                "ratio": arm.ratio,
                "users": self.arm_users[name],
                **own.document(),
                "effects": _effects(arm, everywhere, without),
                "if_all_had": everywhere.document()["rates"],
            }
        return {
            "name": trial.name,
            "seed": trial.seed,
            "start": span[0].isoformat(),
            "end": span[1].isoformat(),
            "arms": arms,
            "if_none_had": without.document()["rates"],
        }


def _effects(arm: SimulatedArm, everywhere: Sums, without: Sums) -> dict[str, float | None]:
    """Return the relative effects of an arm against pages without any, by the names of the rates."""
    effects: dict[str, float | None] = {}
    factor = 1.0
    for stage, conditional in zip(
        STAGES, ("click_per_slot", "transfer_per_click", "purchase_per_transfer"), strict=True
    ):
        factor *= 1 + arm.effects.get(stage, 0.0)
        effects[conditional] = arm.effects.get(stage, 0.0)
        effects[f"{stage}_per_pageview"] = factor - 1
    effects["pageviews_with_purchase"] = (
        everywhere.with_purchase / without.with_purchase - 1 if without.with_purchase else None
    )
    return effects
