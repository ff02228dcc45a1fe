"""What is declared under registry/, does it hold together, and what is the digest of a piece of logic?"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel

from recsys.errors import SpecError
from recsys.specs.contact import contact_findings
from recsys.specs.environment import Environment
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer
from recsys.specs.model import LOSSES, CatBoostAlgorithm, ModelVersion
from recsys.specs.monitor import Monitor, monitor_findings
from recsys.specs.online_metric import OnlineMetric, metric_findings
from recsys.specs.placement import Audience, Placement
from recsys.specs.problem import Problem
from recsys.specs.reading import validated
from recsys.specs.sharing import sharing_findings

T = TypeVar("T")

KINDS: Final[Mapping[str, type[BaseModel]]] = {
    "problems": Problem,
    "models": ModelVersion,
    "placements": Placement,
    "audiences": Audience,
    "metrics": OnlineMetric,
    "layers": Layer,
    "experiments": Experiment,
    "monitors": Monitor,
    "environments": Environment,
}
"""Folder under registry/ to what its files declare."""

CHAMPION: Final = "champion"
"""What a gate may be against besides the declared baselines: the weights that serve by default."""


@dataclass(frozen=True)
class Catalog:
    """Every declaration, by name; a name is the file's path below its kind's folder, without `.yaml`."""

    problems: Mapping[str, Problem] = field(default_factory=dict)
    models: Mapping[str, ModelVersion] = field(default_factory=dict)
    placements: Mapping[str, Placement] = field(default_factory=dict)
    audiences: Mapping[str, Audience] = field(default_factory=dict)
    metrics: Mapping[str, OnlineMetric] = field(default_factory=dict)
    layers: Mapping[str, Layer] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)

    def problem(self, name: str) -> Problem:
        """Return a problem, or raise SpecError naming those that exist."""
        return _get(self.problems, name, "problem", "problems")

    def model(self, name: str) -> ModelVersion:
        """Return a model version such as basket/v2, or raise SpecError naming those that exist."""
        return _get(self.models, name, "model version", "models")

    def registered_models(self) -> tuple[str, ...]:
        """Return the registered models, such as basket of basket/v1 and basket/v2, by name."""
        return tuple(sorted({version.partition("/")[0] for version in self.models}))

    def require_model(self, name: str) -> None:
        """Raise SpecError naming those that exist, unless a registered model such as basket has a version declared."""
        if name not in self.registered_models():
            known = ", ".join(self.registered_models()) or "none"
            raise SpecError([f"model {name!r}: not declared; declared: {known}"])

    def placement(self, name: str) -> Placement:
        """Return a placement, or raise SpecError naming those that exist."""
        return _get(self.placements, name, "placement", "placements")

    def audience(self, name: str) -> Audience:
        """Return an audience, or raise SpecError naming those that exist."""
        return _get(self.audiences, name, "audience", "audiences")

    def experiment(self, name: str) -> Experiment:
        """Return an experiment, or raise SpecError naming those that exist."""
        return _get(self.experiments, name, "experiment", "experiments")

    def monitor(self, model: str) -> Monitor:
        """Return what a registered model such as basket is watched by: its monitor, or the defaults."""
        return self.monitors.get(model, Monitor())

    def layer_of(self, experiment: Experiment) -> Layer | None:
        """Return the layer that an experiment shares, or None."""
        return None if experiment.layer is None else _get(self.layers, experiment.layer.name, "layer", "layers")

    def environment(self, name: str) -> Environment:
        """Return an environment, or raise SpecError naming those that exist."""
        return _get(self.environments, name, "environment", "environments")

    def logic_digest(self, model_version: str, features_digest: str) -> str:
        """Return the digest of a version's logic: its spec, its features and its candidates.

        Args:
            model_version: such as basket/v2.
            features_digest: of the feature service's definitions and their transforms.
        """
        spec = self.model(model_version)
        problem = self.problem(spec.problem)
        closure: dict[str, Any] = {
            "model": spec.model_dump(mode="json", exclude={"search"}),
            "features": features_digest,
            "target": problem.target.model_dump(mode="json"),
        }
        if problem.lists:
            placement = self.placement(spec.placement)
            closure["pool"] = placement.pool.model_dump(mode="json")
            for kind in ("candidates", "new_units", "filters"):
                closure[kind] = [each.model_dump(mode="json") for each in getattr(placement, kind)]
        else:
            closure["units"] = self.audience(spec.placement).units.model_dump(mode="json")
        return digest(closure)


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the first 16 hex digits of the SHA-256 of a JSON value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(registry: Path) -> Catalog:
    """Read and cross-check every declaration.

    Args:
        registry: the folder `registry/`.

    Raises:
        SpecError: with every finding in every file.
    """
    findings: list[str] = []
    loaded: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    present: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for kind, spec_type in KINDS.items():
        folder = registry / kind
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            present[kind].add(name)
            spec = _read(path, f"{registry.name}/{kind}/{name}.yaml", spec_type, findings)
            if spec is not None:
                loaded[kind][name] = spec
    catalog = Catalog(**loaded)
    findings.extend(_unplaced(registry))
    findings.extend(_dangling(catalog, present, registry.name))
    if findings:
        raise SpecError(findings)
    return catalog


def _get(specs: Mapping[str, T], name: str, kind: str, folder: str) -> T:
    if name not in specs:
        known = ", ".join(sorted(specs)) or "none"
        raise SpecError([f"{kind} {name!r} is not declared under registry/{folder}/; declared: {known}"])
    return specs[name]


def _read(path: Path, shown: str, spec_type: type[BaseModel], findings: list[str]) -> BaseModel | None:
    try:
        return validated(read_fields(path, shown), shown, spec_type)
    except SpecError as error:
        findings.extend(error.problems)
        return None


def read_fields(path: Path, shown: str) -> dict[str, Any]:
    """Read a declaration's fields as they stand in its file.

    Args:
        path: the file.
        shown: what errors call it.

    Raises:
        SpecError: if it is no YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # an impossible date is a ValueError
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where is not None else ""
        raise SpecError([f"{shown}:{line} not YAML: {getattr(error, 'problem', None) or error}"]) from error
    if not isinstance(content, dict):
        given = "an empty file" if content is None else f"a {type(content).__name__}"
        raise SpecError([f"{shown}: {given}: a declaration is a mapping of fields to values"])
    return content


def _unplaced(registry: Path) -> Iterator[str]:
    """Find YAML files that no kind of declaration would read."""
    for path in sorted([*registry.rglob("*.yaml"), *registry.rglob("*.yml")]):
        parts = path.relative_to(registry).parts
        shown = f"{registry.name}/{'/'.join(parts)}"
        if parts[0] not in KINDS or len(parts) < 2:  # noqa: PLR2004 - a kind and a file
            yield f"{shown}: folder: declarations live in {', '.join(KINDS)}"
        elif path.suffix == ".yml":
            yield f"{shown}: suffix: .yml is not read; name it .yaml"
        elif parts[0] == "models" and len(parts) != 3:  # noqa: PLR2004 - models/<model>/<version>.yaml
            yield f"{shown}: folder: a model version is models/<model>/<version>.yaml"


def _dangling(catalog: Catalog, present: Mapping[str, set[str]], root: str) -> Iterator[str]:
    """Check references against the files present, so that one broken file is reported once."""
    for name, model in catalog.models.items():
        yield from _dangling_model(catalog, present, root, name, model)
    for kind, places in (("placements", catalog.placements), ("audiences", catalog.audiences)):
        for name, place in places.items():
            yield from _dangling_place(catalog, present, f"{root}/{kind}/{name}.yaml", kind, place)
    for name, audience in catalog.audiences.items():
        shown = f"{root}/audiences/{name}.yaml"
        yield from contact_findings(audience, catalog.problems.get(audience.problem), catalog.layers, shown)
    for name in sorted(present["placements"] & present["audiences"]):
        yield f"{root}/audiences/{name}.yaml: name: a placement has it too; `recsys serve-batch` takes either"
    for name in sorted(present["experiments"] & present["audiences"]):
        yield f"{root}/audiences/{name}.yaml: name: an experiment has it too; `recsys evaluate` takes either"
    yield from _dangling_arms(catalog, present, root)
    yield from metric_findings(present["metrics"], catalog.experiments, root)
    yield from monitor_findings(catalog.monitors, present["models"], root)
    yield from sharing_findings(catalog.layers, catalog.experiments, root)


def _dangling_model(
    catalog: Catalog, present: Mapping[str, set[str]], root: str, name: str, model: ModelVersion
) -> Iterator[str]:
    shown = f"{root}/models/{name}.yaml"
    yield from _missing(present, "problems", model.problem, "problem", shown)
    problem = catalog.problems.get(model.problem)
    if model.gate.against not in (*model.baselines, CHAMPION):
        known = ", ".join((*model.baselines, CHAMPION))
        yield f"{shown}: gate.against: {model.gate.against}: not one of this version's baselines; they are: {known}"
    kind = "audiences" if problem is not None and not problem.lists else "placements"
    if problem is not None or model.placement not in present["audiences"]:
        yield from _missing(present, kind, model.placement, "placement", shown)
    if model.problem in present["problems"]:
        yield from _place_fits(catalog, present, model.placement, model.problem, "placement", shown)
    if problem is None:
        return
    measured = [str(metric) for metric in problem.metrics()]
    if model.gate.metric not in measured:
        yield f"{shown}: gate.metric: {model.gate.metric}: the channels of {model.problem} give {', '.join(measured)}"
    if isinstance(model.algorithm, CatBoostAlgorithm):
        yield from _algorithm_fits(model.algorithm, problem, model.problem, shown)


def _algorithm_fits(algorithm: CatBoostAlgorithm, problem: Problem, name: str, shown: str) -> Iterator[str]:
    fitting = LOSSES[problem.formulation]
    if algorithm.loss not in fitting:
        yield (
            f"{shown}: algorithm.loss: {algorithm.loss}: problem {name} is a {problem.formulation};"
            f" its losses are {', '.join(sorted(fitting))}"
        )
    if algorithm.calibration is not None and problem.formulation != "classification":
        yield (
            f"{shown}: algorithm.calibration: {algorithm.calibration}: problem {name} is a {problem.formulation};"
            " probabilities are of a classification"
        )


def _dangling_place(
    catalog: Catalog, present: Mapping[str, set[str]], shown: str, kind: str, place: Placement | Audience
) -> Iterator[str]:
    yield from _missing(present, "problems", place.problem, "problem", shown)
    problem = catalog.problems.get(place.problem)
    if problem is not None and problem.lists != (kind == "placements"):
        what = "ranks items: it needs a placement" if problem.lists else "selects units: it needs an audience"
        yield f"{shown}: problem: {place.problem} {what}, not one of {kind}"
    if place.model not in {name.partition("/")[0] for name in present["models"]}:
        root = shown.partition("/")[0]
        yield f"{shown}: model: {place.model}: no version of it under {root}/models/{place.model}/"


def _dangling_arms(catalog: Catalog, present: Mapping[str, set[str]], root: str) -> Iterator[str]:
    for name, experiment in catalog.experiments.items():
        shown = f"{root}/experiments/{name}.yaml"
        if experiment.placement in present["audiences"]:
            yield (
                f"{shown}: placement: {experiment.placement}: an audience: experiments split placements; a campaign is"
                " compared by the holdouts that its audience names"
            )
        else:
            yield from _missing(present, "placements", experiment.placement, "placement", shown)
        if experiment.layer is not None:
            yield from _missing(present, "layers", experiment.layer.name, "layer.name", shown)
        for arm_name, arm in experiment.arms.items():
            where = f"arms.{arm_name}.model_version"
            yield from _missing(present, "models", arm.model_version, where, shown)
            served = catalog.models.get(arm.model_version)
            if served is not None and served.problem in present["problems"]:
                yield from _place_fits(catalog, present, experiment.placement, served.problem, where, shown)


def _missing(present: Mapping[str, set[str]], kind: str, name: str, where: str, shown: str) -> Iterator[str]:
    if name not in present[kind]:
        known = ", ".join(sorted(present[kind])) or "none"
        yield f"{shown}: {where}: {name}: not declared under registry/{kind}/; declared: {known}"


def _place_fits(
    catalog: Catalog, present: Mapping[str, set[str]], place: str, problem: str, where: str, shown: str
) -> Iterator[str]:
    """Say that two name different problems; where the place's own is not there, that is said of the place alone."""
    for kind, declared in (("placement", catalog.placements.get(place)), ("audience", catalog.audiences.get(place))):
        if declared is not None and declared.problem in present["problems"] and declared.problem != problem:
            yield (
                f"{shown}: {where}: answers problem {problem}, but {kind} {place} serves {declared.problem}:"
                " both must name one problem"
            )
