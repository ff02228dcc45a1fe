"""Whom does a change hit: which model versions, arms and running experiments stand on a declaration?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recsys.planning.state import Content, State


@dataclass(frozen=True)
class Hits:
    """What stands on a declaration, by name, each ascending."""

    model_versions: tuple[str, ...] = ()
    """Such as basket/v2."""
    arms: tuple[str, ...] = ()
    """Such as home_ranker.treatment, of every experiment that is applied or declared."""
    running: tuple[str, ...] = ()
    """Experiments that run now."""


NO_HITS: Final = Hits()


def hits_of(subject: str, states: Sequence[State], running: frozenset[str]) -> Hits:
    """Return what stands on a subject in any of several states.

    Args:
        subject: `kind/name`, such as feature_views/user_item.
        states: what was applied, and what is declared.
        running: names of experiments that run now.
    """
    versions: set[str] = set()
    arms: set[str] = set()
    experiments: set[str] = set()
    for state in states:
        hit = {name for name in state.get("models", {}) if subject in _under_version(state, name)}
        versions |= hit
        for name, experiment in state.get("experiments", {}).items():
            mine = {arm for arm, declared in experiment["arms"].items() if declared["model_version"] in hit}
            arms |= {f"{name}.{arm}" for arm in mine}
            placement = experiment["placement"]
            own = {f"experiments/{name}", *_under_placement(state, placement)}
            if experiment.get("layer") is not None:
                own.add(f"layers/{experiment['layer']['name']}")
            own |= {f"metrics/{metric}" for metric in _metrics(experiment["metrics"])}
            if mine or subject in own:
                experiments.add(name)
    return Hits(tuple(sorted(versions)), tuple(sorted(arms)), tuple(sorted(experiments & running)))


def _metrics(declared: Content) -> Iterator[str]:
    yield declared["primary"]["name"]
    yield from (guardrail["name"] for guardrail in declared.get("guardrails", ()))
    yield from declared.get("secondary", ())


def _under_version(state: State, name: str) -> set[str]:
    """Return the subjects that a model version's logic stands on, its own included; baselines are not served."""
    model = state["models"][name]
    found = {
        f"models/{name}",
        f"problems/{model['problem']}",
        f"feature_services/{model['feature_service']}",
        *_under_placement(state, model["placement"], with_list=False),
    }
    service = state.get("feature_services", {}).get(model["feature_service"], {})
    for reference in service.get("references", ()):
        found |= set(_under_view(state, reference.partition(":")[0]))
    return found


def _under_placement(state: State, name: str, *, with_list: bool = True) -> set[str]:
    """Return the subjects that a placement's candidates stand on, the placement's own included."""
    placement = state.get("placements", {}).get(name)
    found = {f"placements/{name}"}
    if placement is None:
        return found
    if with_list:
        found.add(f"problems/{placement['problem']}")
    reading = (*placement["candidates"], *placement.get("filters", ()))
    views = {placement["pool"]["view"], *(each["view"] for each in reading if "view" in each)}
    for view in views:
        found |= set(_under_view(state, view))
    return found


def _under_view(state: State, view: str) -> Iterator[str]:
    computed = state.get("request_transforms", {}).get(view)
    if computed is None:
        yield f"feature_views/{view}"
        yield f"transforms/{view}"
        return
    yield f"request_transforms/{view}"
    for read in computed["reads"]:
        yield from _under_view(state, read)
