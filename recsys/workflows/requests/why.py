"""Why did a request get the list it got? `recsys why`: what was logged, and the same list made again from the past.

What stood online at the request is read from the offline store as of the logged watermark, and goes through the very
functions that answer requests, with the logged weights. So the features are the same (their digest is compared), the
scores too, and where they are not, the answer was made from something that the feature tables do not say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from recsys.errors import DataError
from recsys.experiment.routing import Router
from recsys.ports import Exposure
from recsys.serving.explaining import Explanation, explain, explain_contact
from recsys.workflows.requests.remaking.answers import Remaking
from recsys.workflows.workspace import Workspace

SAME: Final = 1e-9
"""Two scores that differ by no more are the same."""


@dataclass(frozen=True)
class Why:
    """One answer, explained."""

    exposure: Exposure
    """What was logged."""
    arm_now: str | None
    """The arm that the unit has by the experiment's declaration of today; None without one."""
    as_of: datetime | None
    """How far the online store had come; None where no model answered."""
    explanation: Explanation | None
    """The list made again; None where no model answered."""

    @property
    def digest_equal(self) -> bool | None:
        """Whether the features are those that were logged; None where no model answered, or a batch kept no digest."""
        if self.explanation is None or not self.exposure.feature_digest:
            return None
        return self.explanation.digest == self.exposure.feature_digest

    @property
    def items_equal(self) -> bool | None:
        """Whether the same items stand in the same slots with the same scores; None where no model answered."""
        if self.explanation is None:
            return None
        made = [each.item for each in self.explanation.items]
        logged = self.exposure.items
        return [item.item_id for item in made] == [item.item_id for item in logged] and all(
            _same(one.score, other.score) for one, other in zip(made, logged, strict=True)
        )

    @property
    def differing(self) -> Mapping[str, int]:
        """Column of the logged feature row to how many slots have another value now; empty without a logged row."""
        logged = self.exposure.features
        if logged is None or self.explanation is None:
            return {}
        scored = [each.features for each in self.explanation.items if each.rank]
        return {
            name: count
            for name, values in logged.items()
            if (count := sum(not _same_value(row.get(name), value) for row, value in zip(scored, values, strict=False)))
        }


def why(workspace: Workspace, request_id: str, *, shap: bool = False) -> Why:
    """Explain a logged request.

    Args:
        workspace: the project.
        request_id: as the answer told it.
        shap: whether each score is taken apart by column.

    Raises:
        DataError: if the log has no such request.
        ModelError: if its weights are not in the registry any more.
        FeatureError: if a view or feature that it read is not declared any more.
    """
    exposure = workspace.event_log.request(request_id)
    if exposure is None:
        message = (
            "why: the event log has no request of this id: it is the `request_id` of an answer, or of a list of a batch"
            " that `recsys log sent` logged; requests are gone once the log is pruned or their user is forgotten"
        )
        raise DataError(message)
    return Explaining(workspace).why(exposure, shap=shap)


class Explaining:
    """Explains logged requests; what several have in common is read once."""

    def __init__(self, workspace: Workspace) -> None:
        """Read nothing yet."""
        self._catalog = workspace.catalog
        self._remaking = Remaking(workspace)

    def why(self, exposure: Exposure, *, shap: bool = False) -> Why:
        """Explain one logged request.

        Raises:
            ModelError: if its weights are not in the registry any more.
            FeatureError: if a view or feature that it read is not declared any more.
        """
        arm = self._arm_now(exposure)
        contact = self._remaking.contact(exposure)
        if contact is not None:
            rank = int(exposure.asked["rank"])
            told = explain_contact(contact.columns, contact.model, exposure.items[0], rank, shap=shap)
            return Why(exposure, arm, contact.as_of, told)
        made = self._remaking.made(exposure)
        if made is None:
            return Why(exposure, arm, None, None)
        return Why(exposure, arm, made.as_of, explain(made.asked, made.model, made.placement, shap=shap))

    def _arm_now(self, exposure: Exposure) -> str | None:
        experiments = self._catalog.experiments
        if exposure.experiment is None or exposure.experiment not in experiments:
            return None
        spec = experiments[exposure.experiment]
        unit = exposure.session_id if spec.unit == "session_id" else exposure.user_id
        router = Router(exposure.experiment, spec, self._catalog.layer_of(spec))
        assignment = None if unit is None else router.route(unit)
        return None if assignment is None else assignment.arm


def _same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)


def _same_value(one: Any, other: Any) -> bool:  # noqa: ANN401 - a number, a text or a time
    if isinstance(one, int | float) and isinstance(other, int | float):
        return _same(float(one), float(other))
    return bool(one == other)
