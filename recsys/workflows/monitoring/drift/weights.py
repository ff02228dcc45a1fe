"""Which weights is a model's drift asked of, and what were they made from?"""

from datetime import datetime
from typing import Final

from recsys.decision.evidence import DATA_TAG
from recsys.errors import ModelError
from recsys.modeling.training_set import TABLES, TrainingSet, read_training_set
from recsys.ports import Weights
from recsys.workflows.modeling.compare import trained_weights
from recsys.workflows.serving.resolvers import recorded_champion
from recsys.workflows.workspace import Workspace

_KNOWN_AT: Final = "recsys.known_at"


def weights_of(workspace: Workspace, name: str) -> Weights:
    """Return the champion of a model, or the weights in service of a version.

    Raises:
        SpecError: if the model or the version is not declared.
        ModelError: if there are none, or the logic was changed since.
    """
    if "/" in name:
        workspace.catalog.model(name)
        return trained_weights(workspace, name)
    workspace.catalog.require_model(name)
    champion = recorded_champion(workspace, name)
    if champion is None:
        message = f"model {name}: has no champion; promote one, or name a version ({name}/…)"
        raise ModelError(message)
    trained_weights(workspace, champion.model_version)
    return champion


def kept_dataset(workspace: Workspace, weights: Weights) -> TrainingSet:
    """Return the training set that weights were made from.

    Raises:
        ModelError: if it is not kept here, as a whole.
    """
    digest = weights.tags.get(DATA_TAG)
    for folder in sorted((workspace.datasets / weights.model_version).glob("*")):
        found = read_training_set(folder)
        whole = all((folder / f"{name}.parquet").exists() for name in TABLES)
        if found is not None and found.digest == digest and whole:
            return found
    message = (
        f"{weights.model_version} (weights {weights.number}): its training set {digest} is not kept in"
        f" {workspace.shown(workspace.datasets)}/; run `recsys dataset build --model-version {weights.model_version}"
        f" --known-at {_known_at(weights)}` with the events that it was made from; if that gives another digest, train"
        " it anew"
    )
    raise ModelError(message)


def _known_at(weights: Weights) -> str:
    """Return when the training set was known, as the command line takes it: a date where that is all there is to it."""
    tag = weights.tags.get(_KNOWN_AT, "")
    try:
        moment = datetime.fromisoformat(tag)
    except ValueError:
        return "DATE"
    midnight = moment == moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{moment:%Y-%m-%d}" if midnight else moment.isoformat()
