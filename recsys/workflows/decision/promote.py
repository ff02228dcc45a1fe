"""Which version serves from now on?

`recsys promote`, `rollback` and `history`: the champion moves on evidence, and on record.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from recsys.decision import promotion
from recsys.decision.champion import Override, overrides_among
from recsys.decision.promotion import Promotion
from recsys.ports import LedgerEntry
from recsys.workflows.decision.evidence import collect
from recsys.workflows.exclusive import ALIASES, exclusive
from recsys.workflows.git import author
from recsys.workflows.workspace import Workspace


def promote_experiment(workspace: Workspace, name: str, override: str | None = None) -> Promotion:
    """Make the winning arm's logic the champion, if the experiment's frozen report says SHIP and still holds.

    Args:
        workspace: the project.
        name: the experiment.
        override: why the arm that the verdict names, or the only treatment, shall be champion whatever is refused.

    Raises:
        DecisionError: with a line a reason: see docs/experiments.md.
    """
    workspace.catalog.experiment(name)
    with _moving(workspace, f"recsys promote {name}"):
        evidence, refused = collect(workspace, name, anyhow=override is not None)
        ports = (workspace.registry, workspace.ledger, workspace.clock)
        return promotion.promote_verdict(*ports, evidence, author(), refused=refused, override=override)


def promote_first(workspace: Workspace, model_version: str, override: str | None = None) -> Promotion:
    """Make a logic's weights the first champion of its model.

    Args:
        workspace: the project.
        model_version: such as basket/v1.
        override: why weights that failed their gate shall be served all the same; recorded.

    Raises:
        DecisionError: if the model has a champion, or the weights did not pass their gate.
    """
    workspace.catalog.model(model_version)
    with _moving(workspace, f"recsys promote --model-version {model_version}"):
        return promotion.promote_first(
            workspace.registry, workspace.ledger, workspace.clock, model_version, author(), override=override
        )


def rollback(workspace: Workspace, model: str, reason: str) -> Promotion:
    """Give a model the champion back that it had before.

    Args:
        workspace: the project.
        model: a registered model, such as basket.
        reason: why, in words; on record for good.

    Raises:
        SpecError: if the model is neither declared nor on record.
        DecisionError: if there was none.
    """
    _require(workspace, model)
    with _moving(workspace, f"recsys rollback {model}"):
        return promotion.rollback(workspace.registry, workspace.ledger, workspace.clock, model, author(), reason=reason)


def accept(workspace: Workspace, model: str) -> Promotion:
    """Record a champion alias that was moved outside recsys, so that it is served.

    Raises:
        SpecError: if the model is neither declared nor on record.
        DecisionError: if the alias was deleted.
    """
    _require(workspace, model)
    with _moving(workspace, f"recsys accept {model}"):
        return promotion.accept(workspace.registry, workspace.ledger, workspace.clock, model, author())


def history(workspace: Workspace, model: str) -> Sequence[LedgerEntry]:
    """Return what happened to a model's aliases, oldest first.

    Raises:
        SpecError: if the model is neither declared nor on record.
    """
    _require(workspace, model)
    return promotion.history(workspace.ledger, model)


def overrides(workspace: Workspace, model_versions: Iterable[str]) -> tuple[Override, ...]:
    """Return which of some model versions became champion by an override, wherever they are shown; by their names."""
    return overrides_among(workspace.ledger, model_versions)


def _require(workspace: Workspace, model: str) -> None:
    """Refuse a name that means no model; one that is not declared any more still has its record."""
    if model not in workspace.catalog.registered_models() and not promotion.history(workspace.ledger, model):
        workspace.catalog.require_model(model)


@contextmanager
def _moving(workspace: Workspace, command: str) -> Generator[None]:
    """Be the only one who moves aliases, and first end what an earlier, killed run left between intent and done.

    Raises:
        StoreError: if another command moves aliases for too long.
    """
    with exclusive(workspace, ALIASES, command):
        promotion.recover(workspace.registry, workspace.ledger, workspace.clock, author())
        yield
