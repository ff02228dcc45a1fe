"""How do business issues, problems, models, placements and experiments hang together, and what needs attention?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from recsys.errors import StoreError
from recsys.planning.lifecycle import Stage
from recsys.ports import NamedWeights
from recsys.workflows.console.beginning import first_steps, first_version
from recsys.workflows.console.experiments import experiment_summary
from recsys.workflows.console.models import model_summary
from recsys.workflows.console.places import places
from recsys.workflows.console.problems import problem_summary
from recsys.workflows.experiments.status import experiment_status
from recsys.workflows.problem.funnel import kept_funnel
from recsys.workflows.workspace import Workspace

Document = dict[str, Any]
_ALERTS: Final = 2
"""Of one model, so many are told; its page has all."""


def overview_document(workspace: Workspace, registered: NamedWeights, broken: Sequence[str] = ()) -> Document:
    """Return everything that is declared, by problem; a store that cannot be read is said, and its part is left out.

    Args:
        workspace: the project.
        registered: what the registry says at this look.
        broken: what is wrong with the declarations since they were read.
    """
    catalog = workspace.catalog
    troubles: list[str] = []
    experiments = _experiments(workspace, troubles)
    models = _models(workspace, registered, troubles)
    steps = [] if troubles else first_steps(workspace, models, experiments)
    problems = []
    for name, problem in sorted(catalog.problems.items()):
        mine = [(kind, place, spec) for kind, place, spec in places(catalog) if spec.problem == name]
        answering = sorted(
            {version.partition("/")[0] for version, spec in catalog.models.items() if spec.problem == name}
        )
        problems.append(
            {
                **problem_summary(name, problem),
                "funnel": _funnel(workspace, name),
                "models": [models.get(model) or {"model": model, "unknown": True} for model in answering],
                "placements": [{"placement": place, "kind": kind, "model": spec.model} for kind, place, spec in mine],
                "experiments": [each for each in experiments if each["placement"] in {place for _, place, _ in mine}],
            }
        )
    return {
        "environment": workspace.environment_name,
        "clock": workspace.clock.now().isoformat(),
        "problems": problems,
        "troubles": troubles,
        "steps": steps,
        "attention": [
            *({"what": f"registry/ does not load now: {each}", "command": "recsys validate"} for each in broken),
            *(() if steps else attention(models, experiments, {spec.model for _, _, spec in places(catalog)})),
        ],
    }


def attention(
    models: Mapping[str, Document], experiments: Sequence[Document], serving: set[str]
) -> Iterator[dict[str, str]]:
    """Yield what somebody should do something about, and the command that does it or tells more.

    Args:
        models: name to `model_summary`.
        experiments: of `experiment_summary`.
        serving: the models by whose champions placements and audiences are filled.
    """
    for name, model in models.items():
        yield from _of_model(name, model, experiments, serving=name in serving)
    for each in experiments:
        yield from _of_experiment(each, models)


def _of_model(
    name: str, model: Document, experiments: Sequence[Document], *, serving: bool
) -> Iterator[dict[str, str]]:
    moved = model["moved_outside"]
    if moved:
        yield {
            "what": f"Model {name}: alias champion names weights {moved['alias'] or 'none'}, the record says"
            f" {moved['recorded'] or 'none'}: it was moved from outside, and the recorded ones are served.",
            "command": f"recsys accept {name}",
        }
    if serving and model["champion"] is None and not moved:
        version = first_version(model, experiments)
        ready = any(each["in_service"] for each in model["versions"])
        yield {
            "what": f"Model {name} has no champion: what it fills shows a fallback, or has no list.",
            **_to_champion(version, trained=ready),
        }
    for message in model["alerts"][:_ALERTS]:
        yield {"what": f"{model['champion']['model_version']}: {message}", "command": f"recsys diagnose {name}"}
    if len(model["alerts"]) > _ALERTS:
        more = len(model["alerts"]) - _ALERTS
        yield {"what": f"{model['champion']['model_version']}: {more} alerts more.", "command": f"recsys drift {name}"}
    for each in model["overrides"]:
        yield {
            "what": f"{each['model_version']} became champion by an override: {each['reason']}",
            "command": f"recsys history {name}",
        }


def _to_champion(version: str, *, trained: bool) -> dict[str, str]:
    """Return what makes a version champion: a training comes before a promotion."""
    promote = f"recsys promote --model-version {version}"
    return {"command": promote} if trained else {"command": f"recsys train --model-version {version}", "then": promote}


def _of_experiment(each: Document, models: Mapping[str, Document]) -> Iterator[dict[str, str]]:
    name = each["experiment"]
    if each["stage"] == Stage.STOPPED:
        yield {"what": f"Experiment {name} has ended and is not decided.", "command": f"recsys evaluate {name}"}
    if each["applied"] is not True and each["stage"] != Stage.DECIDED:
        why = "was never applied" if each["applied"] is None else "is declared otherwise than it was applied"
        yield {"what": f"Experiment {name} {why}.", "command": "recsys plan"}
    winners = {version for arm, version in each["arms"].items() if arm != each["control"]}
    leads = {model["champion"]["model_version"] for model in models.values() if model["champion"]}
    if each["verdict"] == "SHIP" and not winners & leads:
        yield {
            "what": f"Experiment {name} says SHIP, and its winner is not champion.",
            "command": f"recsys promote {name}",
        }


def registered_models(workspace: Workspace) -> list[str]:
    """Return the models of which a version is declared."""
    return sorted({version.partition("/")[0] for version in workspace.catalog.models})


def _funnel(workspace: Workspace, problem: str) -> Document | None:
    """Return what `recsys funnel` found last: the stage to model, None where no model helps, and why."""
    kept = kept_funnel(workspace, problem)
    return None if kept is None else {name: kept[name] for name in ("model_stage", "reasons")}


def _experiments(workspace: Workspace, troubles: list[str]) -> list[Document]:
    try:
        return [experiment_summary(each) for each in experiment_status(workspace)]
    except StoreError as error:
        troubles.append(f"Experiments: {error}")
        return []


def _models(workspace: Workspace, registered: NamedWeights, troubles: list[str]) -> dict[str, Document]:
    found: dict[str, Document] = {}
    try:
        for model in registered_models(workspace):
            found[model] = model_summary(workspace, registered, model)
    except StoreError as error:
        troubles.append(f"Models: {error}")
    return found
