"""How do the declarations differ from what was applied? `recsys plan` shows it, `recsys apply` makes it so."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from recsys.decision.champion import champion_status
from recsys.decision.evidence import LOGIC_TAG
from recsys.errors import FeatureError, RecsysError, SpecError
from recsys.planning.lifecycle import epochs_of
from recsys.planning.notes import with_notes
from recsys.planning.plan import Plan, Step, feast_step, steps_between
from recsys.planning.refusals import Facts, TrainedLogic, refusals, running
from recsys.planning.state import APPLY, FEAST, State, applied_state, declared_state, open_transactions
from recsys.ports import Definitions, FeatureReader, FeatureRepository, LedgerEntry, Weights
from recsys.schema import SESSION, USER
from recsys.workflows.declarations.validate import feature_findings
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.git import author, commit
from recsys.workflows.workspace import Workspace

COMMAND: Final = "recsys apply"

_UNITS: Final = """
select distinct {unit} as unit from events
where {unit} is not null and event_timestamp <= timestamptz '{at}' and created_timestamp <= timestamptz '{at}'
order by unit
"""


@dataclass(frozen=True)
class Applied:
    """What an apply did."""

    plan: Plan
    transaction: str | None
    """The ledger's; None when there was nothing to do."""


def plan(workspace: Workspace) -> Plan:
    """Compare what is declared with what was applied; nothing is written.

    Returns:
        Every difference with what it hits, and the findings that forbid an apply.
    """
    return _plan(workspace, workspace.adapters.feature_repository().declared())


def apply(workspace: Workspace, expected: str | None = None) -> Applied:
    """Make the plan of this moment so: Feast's registry first, then one transaction of the ledger.

    The ledger is the only record of what was applied. An apply that was killed has applied nothing by the
    ledger; if Feast's registry had been told already, the next apply finds it up to date.

    Args:
        workspace: the project.
        expected: the digest of the plan that was read; any by default.

    Raises:
        SpecError: with every finding, if the plan is refused or is not the expected one; nothing is written.
        StoreError: if another apply runs, or a store fails.
        FeatureError: if Feast refuses; the ledger then says that nothing was applied.
    """
    with exclusive(workspace, APPLY, COMMAND):
        repository = workspace.adapters.feature_repository()
        definitions = repository.declared()
        made = _plan(workspace, definitions)
        if expected is not None and expected != made.digest:
            message = f"plan: {expected}: it is {made.digest} by now: files or stores changed since; run `recsys plan`"
            raise SpecError([message])
        if made.refused:
            raise SpecError(made.refused)
        if not made.steps:
            return Applied(made, None)
        _end_killed(workspace)
        return Applied(made, _carry_out(workspace, made, repository, definitions))


# ---------------------------------------------------------------- the plan


def _plan(workspace: Workspace, definitions: Definitions) -> Plan:
    module = workspace.feature_repository / "transforms.py"
    entries = ledger_entries(workspace)
    before = applied_state(entries)
    after = declared_state(workspace.catalog, definitions, workspace.adapters.transforms(module))
    facts = _facts(workspace, before)
    found = steps_between(before, after, frozenset(running(before, facts.now)))
    feast = feast_step(workspace.adapters.feature_repository().registered(), definitions)
    known = {name: epochs_of(entries, name) for name in before["experiments"]}
    steps = (*(with_notes(step, facts, after, known) for step in found), *([feast] if feast is not None else []))
    dangling = feature_findings(workspace.catalog, workspace.adapters.declared_features())
    return Plan(
        environment=workspace.environment_name,
        at=facts.now,
        steps=steps,
        refused=(*dangling, *refusals(before, after, steps, facts)),
    )


def _facts(workspace: Workspace, before: State) -> Facts:
    now = workspace.clock.now()
    versions = {*workspace.catalog.models, *before["models"]}
    models = sorted({version.partition("/")[0] for version in versions})
    made = _is_made(workspace, "mlflow_uri")
    registered = {model: workspace.registry.search(model) if made else () for model in models}

    @cache
    def units(column: str) -> Sequence[str] | None:
        if column not in {USER, SESSION} or not workspace.events.exists():
            return None
        query = _UNITS.format(unit=column, at=now.isoformat())
        known: list[str] = workspace.engine.query(query, {"events": workspace.events})["unit"].to_pylist()
        return known

    return Facts(
        now=now,
        replayed=workspace.environment.clock != "system",
        logic=_logic(workspace, workspace.adapters.declared_features()),
        trained=_trained(registered),
        champions=_champions(workspace, registered),
        units=units,
    )


def definitions_differ(workspace: Workspace) -> Sequence[str] | None:
    """Return the definitions in which Feast's registry and the files differ; none before the first apply.

    None where they agree.
    """
    repository = workspace.adapters.feature_repository()
    registered = repository.registered()
    step = feast_step(registered, repository.declared())
    if step is None:
        return None
    return [change.field for change in step.fields] if any(registered.values()) else ()


def ledger_entries(workspace: Workspace) -> Sequence[LedgerEntry]:
    """Return what the ledger holds; nothing where there is none yet, which is then not made."""
    return workspace.ledger.entries() if _is_made(workspace, "event_log") else ()


def _is_made(workspace: Workspace, field: Literal["mlflow_uri", "event_log"]) -> bool:
    """Say whether a store is there: to open a SQLite file makes it, and a plan writes nothing."""
    url = workspace.environment.address(field, workspace.environment_name, workspace.state)
    scheme, _, path = url.partition(":///")
    return not scheme.startswith("sqlite") or Path(path).exists()


def _logic(workspace: Workspace, features: FeatureReader) -> dict[str, str]:
    """Return the digest of every declared logic whose features resolve; the others are findings of their own."""
    found = {}
    for version, spec in workspace.catalog.models.items():
        try:
            features_digest = features.feature_set(spec.feature_service).digest
        except FeatureError:
            continue
        found[version] = workspace.catalog.logic_digest(version, features_digest)
    return found


def _trained(registered: Mapping[str, Sequence[Weights]]) -> dict[str, list[TrainedLogic]]:
    trained: dict[str, list[TrainedLogic]] = {}
    for known in registered.values():
        for weights in known:
            logic = TrainedLogic(weights.number, weights.tags.get(LOGIC_TAG, "unknown"))
            trained.setdefault(weights.model_version, []).append(logic)
    return trained


def _champions(workspace: Workspace, registered: Mapping[str, Sequence[Weights]]) -> dict[str, str]:
    """Return the logics that are champion, by the alias or by the ledger, which may differ."""
    found = {}
    for model, known in registered.items():
        if not known:
            continue
        status = champion_status(workspace.registry, workspace.ledger, model)
        for weights in known:
            if weights.number == status.recorded or weights == status.alias:
                found[weights.model_version] = f"champion of {model}"
    return found


# ---------------------------------------------------------------- making it so


def _carry_out(workspace: Workspace, made: Plan, repository: FeatureRepository, definitions: Definitions) -> str:
    """Walk the plan's steps as one transaction and return it."""
    transaction = str(uuid.uuid4())
    origin = {"plan": made.digest, "git_commit": commit(workspace.root)}
    for step in made.steps:
        _append(workspace, transaction, "intent", step.subject, origin | _payload(step))
    try:
        if any(step.kind == FEAST for step in made.steps):
            _tell_feast(workspace, repository, definitions)
    except RecsysError:
        _append(workspace, transaction, "reverted", f"plan/{made.digest}", origin)
        raise
    _append(workspace, transaction, "done", f"plan/{made.digest}", origin | {"steps": len(made.steps)})
    return transaction


def _tell_feast(workspace: Workspace, repository: FeatureRepository, definitions: Definitions) -> None:
    with exclusive(workspace, FEATURES, COMMAND):
        repository.apply()
    if feast_step(repository.registered(), definitions) is not None:
        message = (
            f"{workspace.shown(workspace.feature_repository)}/: its definitions are not those of the plan any more:"
            " a file changed meanwhile, or another `feast apply` ran: run `recsys apply` again"
        )
        raise FeatureError(message)


def _payload(step: Step) -> dict[str, Any]:
    return {
        "change": step.change,
        "fields": [change.field for change in step.fields],
        "before": step.before,
        "digest": step.after,
        "content": step.content,
    }


def _end_killed(workspace: Workspace) -> None:
    """Revert what killed applies left open: whoever holds the lock knows that none of them lives."""
    for transaction in open_transactions(workspace.ledger.entries()):
        _append(
            workspace,
            transaction,
            "reverted",
            f"plan/{transaction}",
            {"reason": "its process ended before it was done"},
        )


def _append(workspace: Workspace, transaction: str, state: str, subject: str, payload: Mapping[str, Any]) -> None:
    workspace.ledger.append(
        transaction=transaction,
        state=state,
        action=APPLY,
        subject=subject,
        payload=payload,
        author=author(),
        at=workspace.clock.now(),
    )
