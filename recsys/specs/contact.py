"""Does an audience say of every channel whom it may contact, and name holdouts that are there?"""

from collections.abc import Iterator, Mapping

from recsys.specs.layer import Layer
from recsys.specs.placement import Audience
from recsys.specs.problem import Problem


def contact_findings(
    audience: Audience, problem: Problem | None, layers: Mapping[str, Layer], shown: str
) -> Iterator[str]:
    """Find channels without an answer, answers without a channel, and holdouts of nobody.

    Args:
        audience: the declaration.
        problem: its problem; None where that does not read, which is the finding of another check.
        layers: by name.
        shown: the audience's file, as people read it.

    Yields:
        Findings, each as `path: field: value: rule`.
    """
    if problem is not None and audience.contact:
        channels = ", ".join(problem.channels)
        for name in audience.contact:
            if name not in problem.channels:
                yield f"{shown}: contact.{name}: no channel of problem {audience.problem}, which has {channels}"
        for name in problem.channels:
            if name not in audience.contact:
                yield (
                    f"{shown}: contact: {name} is not named: once one channel asks who may be contacted, each says so:"
                    f" give {name} a view and a feature, or null"
                )
    for number, name in enumerate(audience.holdouts):
        where = f"{shown}: holdouts.{number}: {name}"
        layer = layers.get(name)
        if layer is None:
            known = ", ".join(sorted(layers)) or "none"
            yield f"{where}: not declared under registry/layers/; declared: {known}"
        elif layer.holdout is None:
            yield f"{where}: the layer has no holdout: give it one, or leave it out"
        elif layer.unit != "user_id":
            yield f"{where}: the layer assigns {layer.unit}, and a campaign reaches users: name a layer of user_id"
