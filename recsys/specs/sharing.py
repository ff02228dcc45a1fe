"""Do experiments share traffic so that no unit is in two of them, and that none depends on another's hash?"""

from collections.abc import Iterator, Mapping
from itertools import combinations

from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer
from recsys.specs.traffic import overlap


def sharing_findings(layers: Mapping[str, Layer], experiments: Mapping[str, Experiment], root: str) -> Iterator[str]:
    """Find experiments that would meet.

    An experiment has its layer's unit and stays out of its holdout, at any time. Of two experiments whose windows
    overlap, those of one layer have disjoint ranges, and those on one placement share a layer: a list has
    one answer, and an arm that grows must not take the units of another experiment. Once one of them has
    ended its range is free again. Seeds are unique for good: under one seed two experiments would split the same
    units in the same way.

    Args:
        layers: by name; a layer that does not exist is the finding of another check.
        experiments: by name.
        root: what the registry's folder is called.

    Yields:
        Findings, each as `path: field: value: rule`.
    """
    for name, experiment in sorted(experiments.items()):
        yield from _in_its_layer(layers, name, experiment, root)
    for left, right in combinations(sorted(experiments), 2):
        yield from _meeting(left, experiments[left], right, experiments[right], root)
    seeds: dict[str, str] = {}
    named = {f"layers/{name}": layer.seed for name, layer in layers.items()}
    named |= {f"experiments/{name}": experiment.seed for name, experiment in experiments.items()}
    for subject, seed in sorted(named.items(), reverse=True):
        if seed in seeds:
            yield (
                f"{root}/{subject}.yaml: seed: {seed!r}: {root}/{seeds[seed]}.yaml has it too: under one seed both"
                " split the same units in the same way: give each its own"
            )
        seeds.setdefault(seed, subject)


def _in_its_layer(layers: Mapping[str, Layer], name: str, experiment: Experiment, root: str) -> Iterator[str]:
    shown = f"{root}/experiments/{name}.yaml"
    if experiment.layer is None or experiment.layer.name not in layers:
        return
    layer = layers[experiment.layer.name]
    if layer.unit != experiment.unit:
        name = experiment.layer.name
        yield f"{shown}: unit: {experiment.unit}: layer {name} assigns {layer.unit}: both name one unit"
    if layer.holdout is not None and overlap(experiment.layer.range, layer.holdout):
        yield (
            f"{shown}: layer.range: {_shown(experiment.layer.range)}: overlaps the holdout {_shown(layer.holdout)} of"
            f" layer {experiment.layer.name}, which is in no experiment"
        )


def _meeting(left: str, one: Experiment, right: str, other: Experiment, root: str) -> Iterator[str]:
    (start, end), (begin, until) = one.plan.window(), other.plan.window()
    if not (start < until and begin < end):
        return
    shown = f"{root}/experiments/{right}.yaml"
    together = f"both run from {max(start, begin):%Y-%m-%d %H:%M} to {min(end, until):%Y-%m-%d %H:%M}"
    if one.layer is not None and other.layer is not None and one.layer.name == other.layer.name:
        if overlap(one.layer.range, other.layer.range):
            yield (
                f"{shown}: layer.range: {_shown(other.layer.range)}: overlaps {_shown(one.layer.range)} of {left}, and"
                f" {together}: ranges of one layer are disjoint at any time"
            )
    elif one.placement == other.placement:
        yield (
            f"{shown}: layer: {_layer(other)}: {left}, in {_layer(one)}, splits placement {one.placement} too, and"
            f" {together}: a list has one answer: put both into one layer, with disjoint ranges"
        )


def _layer(experiment: Experiment) -> str:
    return "no layer" if experiment.layer is None else f"layer {experiment.layer.name}"


def _shown(share: tuple[float, float]) -> str:
    return f"[{share[0]}, {share[1]})"
