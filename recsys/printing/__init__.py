"""How do results read on a terminal?"""

from recsys.printing.brought import campaigns_evaluated
from recsys.printing.campaigns import campaign, campaign_document, sent, sent_document
from recsys.printing.champions import history, history_document, promotion, promotion_document
from recsys.printing.data import dataset, feature_tables, features, ingestion, inspection, online_store
from recsys.printing.doctor import diagnosis, diagnosis_document
from recsys.printing.event_log import (
    exported,
    exported_document,
    forgotten,
    forgotten_document,
    pruned,
    pruned_document,
)
from recsys.printing.experiments import (
    assigned,
    assigned_document,
    evaluation,
    experiment_status,
    experiment_status_document,
    exported_growthbook,
    replayed,
)
from recsys.printing.funnel import funnel
from recsys.printing.models import (
    batch,
    compared,
    trained,
    tuned,
    tuned_document,
)
from recsys.printing.monitoring import drift, skew, trouble
from recsys.printing.overrides import overridden, overrides_document, with_overrides
from recsys.printing.plans import applied, plan, plan_document
from recsys.printing.power import power
from recsys.printing.requests import why
from recsys.printing.simulation import simulated, simulated_document
from recsys.printing.terminal import Bar
from recsys.printing.width import fitted, table

__all__ = [
    "Bar",
    "applied",
    "assigned",
    "assigned_document",
    "batch",
    "campaign",
    "campaign_document",
    "campaigns_evaluated",
    "compared",
    "dataset",
    "diagnosis",
    "diagnosis_document",
    "drift",
    "evaluation",
    "experiment_status",
    "experiment_status_document",
    "exported",
    "exported_document",
    "exported_growthbook",
    "feature_tables",
    "features",
    "fitted",
    "forgotten",
    "forgotten_document",
    "funnel",
    "history",
    "history_document",
    "ingestion",
    "inspection",
    "online_store",
    "overridden",
    "overrides_document",
    "plan",
    "plan_document",
    "power",
    "promotion",
    "promotion_document",
    "pruned",
    "pruned_document",
    "replayed",
    "sent",
    "sent_document",
    "simulated",
    "simulated_document",
    "skew",
    "table",
    "trained",
    "trouble",
    "tuned",
    "tuned_document",
    "why",
    "with_overrides",
]
