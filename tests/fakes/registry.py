"""What is a model registry, in memory?"""

import re
from collections.abc import Mapping, Sequence

from recsys.errors import ModelError
from recsys.ports import Ranker, Registration, Weights


class FakeRegistry:
    """`ports.ModelRegistry` that keeps rankers as the objects they are."""

    def __init__(self) -> None:
        """Start empty."""
        self._registered: dict[tuple[str, int], tuple[Weights, Registration]] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self._added: dict[tuple[str, int], dict[str, str]] = {}

    def register(self, registration: Registration) -> Weights:
        """Keep a registration as the next version of its model."""
        model, _, version = registration.model_version.partition("/")
        if not model or not version:
            message = f"model version {registration.model_version}: it is <model>/<version>, such as basket/v2"
            raise ModelError(message)
        number = 1 + len(self.search(model))
        tags = {"recsys.model_version": version, **registration.tags}
        weights = Weights(model, number, version, tags)
        self._registered[model, number] = (weights, registration)
        return weights

    def search(self, model: str) -> Sequence[Weights]:
        """Return all weights of a model, oldest first."""
        return tuple(weights for (name, _), (weights, _) in sorted(self._registered.items()) if name == model)

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None."""
        number = self._aliases.get((model, alias))
        return None if number is None else self._registered[model, number][0]

    def aliases(self, model: str) -> Mapping[str, int]:
        """Return the aliases of a model."""
        return {alias: number for (name, alias), number in self._aliases.items() if name == model}

    def stamp(self) -> str | None:
        """Tell a change by all that there is."""
        return str((list(self._registered), sorted(self._aliases.items()), sorted(self._added)))

    def set_alias(self, weights: Weights, alias: str) -> None:
        """Let an alias name these weights; MLflow's reserved names are refused as MLflow does."""
        if not re.fullmatch(r"(?!latest$|[vV]\d+$)[\w\-]+", alias):
            message = f"alias {alias} of model {weights.model}: MLflow reserves it"
            raise ModelError(message)
        self._find(weights)
        self._aliases[weights.model, alias] = weights.number

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias if it is there."""
        self._aliases.pop((model, alias), None)

    def load(self, weights: Weights) -> Ranker:
        """Return the ranker that was registered."""
        return self._find(weights).ranker

    def add_reports(self, weights: Weights, reports: Mapping[str, str]) -> None:
        """Keep further reports."""
        self._find(weights)
        self._added.setdefault((weights.model, weights.number), {}).update(reports)

    def report(self, weights: Weights, name: str) -> str:
        """Return a report that is kept with the weights."""
        added = self._added.get((weights.model, weights.number), {})
        reports: Mapping[str, str] = {**self._find(weights).reports, **added}
        if name not in reports:
            message = f"weights {weights.model}/{weights.number}: they have no report {name}"
            raise ModelError(message)
        return reports[name]

    def _find(self, weights: Weights) -> Registration:
        if (weights.model, weights.number) not in self._registered:
            message = f"weights {weights.number} of model {weights.model}: not in the registry"
            raise ModelError(message)
        return self._registered[weights.model, weights.number][1]
