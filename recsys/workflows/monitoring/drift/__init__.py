"""Has what a model ranks moved away from what it was judged on, and is it still good? `recsys drift`.

In the order of their use: `weights` (which are asked about, and what they were made from), `decisions` (which have
mature labels since), `samples` (both sides as columns), `judging` (the gate's metric then and now), `comparison` (the
command), `result` (what it found, as JSON).
"""

from recsys.workflows.monitoring.drift.comparison import drift, kept_drift
from recsys.workflows.monitoring.drift.result import Drifted, TooYoung, document
from recsys.workflows.monitoring.drift.weights import weights_of

__all__ = ["Drifted", "TooYoung", "document", "drift", "kept_drift", "weights_of"]
