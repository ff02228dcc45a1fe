"""What is known of a problem, and of a placement that asks for its lists?"""

from typing import Any

from recsys.errors import StoreError
from recsys.ports import NamedWeights
from recsys.specs.problem import Problem
from recsys.workflows.console.experiments import experiment_summary
from recsys.workflows.console.models import model_summary
from recsys.workflows.console.places import places
from recsys.workflows.experiments.status import experiment_status
from recsys.workflows.problem.funnel import kept_funnel
from recsys.workflows.workspace import Workspace


def problem_summary(name: str, problem: Problem) -> dict[str, Any]:
    """Return a problem in short."""
    return {
        "problem": name,
        "business_issue": problem.business_issue,
        "owners": problem.owners.model_dump(mode="json"),
        "formulation": problem.formulation,
    }


def problem_document(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return a problem as it is declared, the metrics of each of its channels, and who works on it.

    Raises:
        SpecError: if there is none of that name.
    """
    catalog = workspace.catalog
    problem = catalog.problem(name)
    metrics = problem.metrics()
    sizes = {channel: each.k or each.capacity for channel, each in problem.channels.items()}
    return {
        **problem_summary(name, problem),
        "declared": problem.model_dump(mode="json"),
        "channels": [
            {
                "channel": channel,
                "size": size,
                "kind": "slots of each unit's list" if problem.lists else "units that can be reached",
                "metrics": [str(metric) for metric in metrics if metric.size == size],
            }
            for channel, size in sizes.items()
        ],
        "models": sorted(version for version, spec in catalog.models.items() if spec.problem == name),
        "placements": sorted(place for _, place, spec in places(catalog) if spec.problem == name),
        "experiments": sorted(
            experiment
            for experiment, spec in catalog.experiments.items()
            if catalog.placement(spec.placement).problem == name
        ),
        "funnel": kept_funnel(workspace, name),
    }


def placement_document(workspace: Workspace, registered: NamedWeights, name: str) -> dict[str, Any]:
    """Return a placement or an audience as it is declared, with the experiments on it and its model.

    Raises:
        SpecError: if there is none of that name.
    """
    catalog = workspace.catalog
    audience = catalog.audiences.get(name)
    spec = audience or catalog.placement(name)
    problem = catalog.problem(spec.problem)
    found: dict[str, Any] = {
        "placement": name,
        "kind": "audience" if audience else "placement",
        "problem": problem_summary(spec.problem, problem),
        "model": spec.model,
        "channels": list(problem.channels),
        "declared": spec.model_dump(mode="json", exclude_defaults=True),
        "champion": None,
        "experiments": [],
        "troubles": [],
        "testers": sorted(
            {unit for each in catalog.experiments.values() if each.placement == name for unit in each.overrides}
        ),
    }
    try:
        statuses = experiment_status(workspace)
        found["experiments"] = [experiment_summary(each) for each in statuses if each.experiment.placement == name]
        found["champion"] = model_summary(workspace, registered, spec.model)["champion"]
    except StoreError as error:
        found["troubles"] = [str(error)]
    return found
