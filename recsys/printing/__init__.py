"""How do results read on a terminal?"""

from recsys.printing.data import dataset, feature_tables, features, ingestion, inspection
from recsys.printing.experiments import evaluation, replayed
from recsys.printing.models import batch, history, history_document, promotion, promotion_document, trained
from recsys.printing.plans import applied, plan, plan_document
from recsys.printing.simulation import simulated, simulated_document
from recsys.printing.terminal import Bar, table

__all__ = [
    "Bar",
    "applied",
    "batch",
    "dataset",
    "evaluation",
    "feature_tables",
    "features",
    "history",
    "history_document",
    "ingestion",
    "inspection",
    "plan",
    "plan_document",
    "promotion",
    "promotion_document",
    "replayed",
    "simulated",
    "simulated_document",
    "table",
    "trained",
]
