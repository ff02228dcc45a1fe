"""Are the features that weights would be given still those that they were trained on?"""

from recsys.decision.evidence import LOGIC_TAG
from recsys.errors import ModelError
from recsys.ports import FeatureSet, Ranker, Weights
from recsys.workflows.workspace import Workspace


def require_unchanged(workspace: Workspace, weights: Weights, wanted: FeatureSet, ranker: Ranker) -> None:
    """Refuse weights whose feature service, or anything else of their logic, is not what they were trained on.

    Args:
        workspace: the project.
        weights: what would score.
        wanted: the features of their version, as declared now.
        ranker: those weights in memory.

    Raises:
        ModelError: naming the features that are missing or of another definition.
    """
    logic = workspace.catalog.logic_digest(weights.model_version, wanted.digest)
    trained = weights.tags.get(LOGIC_TAG)
    if logic == trained:
        return
    missing = [name for name in ranker.columns if name not in wanted.columns]
    more = [name for name in wanted.columns if name not in ranker.columns]
    changes = [f"it has no {', '.join(missing)} any more"] if missing else []
    changes += [f"it has {', '.join(more)} now"] if more else []
    found = " and ".join(changes) or "its columns are the same, but a definition behind them, or the spec, is not"
    message = (
        f"weights {weights.number} of {weights.model_version}: feature service {wanted.name} changed since they were"
        f" trained (logic {trained} then, {logic} now): {found}; undo the edit, or declare a new version and train it"
    )
    raise ModelError(message)
