"""Do off-policy values and verdicts agree with what is known of the Open Bandit data?

`make oracles` fetches its public sample: a week of 10,000 recommendations for each of three campaigns, by a uniformly
random policy and by Bernoulli Thompson sampling. Saito, Aihara, Matsutani and Narita, Open Bandit Dataset and Pipeline,
NeurIPS 2021.
"""

import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys import schema
from recsys.decision.verdict import VerdictName, decide
from recsys.errors import ExperimentError
from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.health import check_health
from recsys.evaluation.off_policy import OffPolicyValue, off_policy_value, require_support
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import Router, window
from recsys.specs.experiment import Experiment
from tests.fakes.engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".oracles" / "obp" / "dataset" / "obd"
TABLES = ROOT.parent / "shared" / "data"
"""The probabilities with which Thompson sampling shows each item in each position, by 100,000 draws of its priors."""
CAMPAIGNS = ("all", "men", "women")
HOUR = timedelta(hours=1)


def log(policy: str, campaign: str) -> pd.DataFrame:
    """Return a log; skip where the data is not here."""
    if not LOGS.exists():
        reason = "the Open Bandit data is not in .oracles; `make oracles` fetches it"
        if os.environ.get("RECSYS_REQUIRE_ORACLES") == "1":
            pytest.fail(f"{reason}, and RECSYS_REQUIRE_ORACLES=1")
        pytest.skip(reason)
    return pd.read_csv(LOGS / policy / campaign / f"{campaign}.csv", index_col=0, parse_dates=["timestamp"])


def thompson(campaign: str) -> np.ndarray:
    """Return the target policy, [items, positions]; skip where the tables are not here."""
    path = TABLES / f"bts_action_dist_{campaign}_nsim100000_seed12345.npy"
    if not path.exists():
        pytest.skip("the tables of the Thompson sampling policy are not here")
    table: np.ndarray = np.load(path)
    return table


def valued(campaign: str, confidence: float = 0.95) -> tuple[OffPolicyValue, pd.DataFrame]:
    """Value Thompson sampling by the random policy's log, each round a unit."""
    rounds = log("random", campaign)
    target = thompson(campaign)[rounds["item_id"], rounds["position"] - 1]
    columns = rounds["click"], rounds["propensity_score"], target, rounds.index
    return off_policy_value(*columns, confidence=confidence), rounds


@pytest.mark.parametrize(
    ("campaign", "clicks"),
    [
        ("all", {"random": [13, 14, 11], "bts": [11, 15, 16]}),
        ("men", {"random": [10, 22, 14], "bts": [30, 21, 18]}),
        ("women", {"random": [15, 15, 16], "bts": [17, 17, 12]}),
    ],
)
def test_clicks_by_position(campaign: str, clicks: dict[str, list[int]]) -> None:
    for policy, expected in clicks.items():
        rounds = log(policy, campaign)
        assert len(rounds) == 10_000
        assert rounds.groupby("position")["click"].sum().tolist() == expected


@pytest.mark.parametrize(
    ("campaign", "ips", "snips"),
    [("all", 0.004553, 0.004776), ("men", 0.004534, 0.004604), ("women", 0.006813, 0.006811)],
)
def test_values_are_those_of_the_papers_pipeline(campaign: str, ips: float, snips: float) -> None:
    found, rounds = valued(campaign)
    assert found.ips.estimate == pytest.approx(ips, abs=1e-6, rel=0)
    assert found.snips.estimate == pytest.approx(snips, abs=1e-6, rel=0)
    assert found.logged.estimate == rounds["click"].mean()
    assert 1_500 < found.effective_sample_size < 2_500
    # What Thompson sampling really brought lies within, of three campaigns by less chance than one in twenty.
    assert valued(campaign, confidence=0.99)[0].ips.holds(log("bts", campaign)["click"].mean())


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_the_random_policy_supports_every_target_and_no_other_way(campaign: str) -> None:
    target = thompson(campaign)
    items = [f"item_{number}" for number in range(len(target))]
    require_support(items, np.full(target.shape, 1 / len(target)), target)
    never = target.copy()
    never[3] = 0
    with pytest.raises(ExperimentError, match="item_3 in slot 1"):
        require_support(items, never, target)


def test_the_womens_campaign_has_no_winner() -> None:
    """Nothing was found, and nothing could have been: it takes almost five times the requests."""
    analysis, experiment = judged("women")
    assert analysis.health.healthy
    verdict = decide(analysis, experiment, window(experiment)[1])
    assert verdict.name is VerdictName.UNDERPOWERED
    (primary,) = analysis.of("thompson", "primary")
    assert (primary.effect.control, primary.effect.treatment) == (0.0046, 0.0046)
    chance = 0.0046
    normal = 1.959964 + 0.841621
    spread = (1 + 1.3**1.5) / 2
    needed = 4 * normal**2 * (1 - chance) / chance * spread / 0.3**2
    assert analysis.needed_units == pytest.approx(needed, rel=1e-3)
    assert f"to see +30.00% takes {analysis.needed_units:,} units" in verdict.reason


def test_the_mens_campaign_has_one() -> None:
    analysis, experiment = judged("men")
    verdict = decide(analysis, experiment, window(experiment)[1])
    assert (verdict.name, verdict.treatment_arm) == (VerdictName.SHIP, "thompson")
    (primary,) = analysis.of("thompson", "primary")
    assert (primary.effect.control, primary.effect.treatment) == (0.0046, 0.0069)


def judged(campaign: str) -> tuple[Analysis, Experiment]:
    """Take both logs as an experiment on requests, and evaluate it from its log."""
    experiment = Experiment.model_validate(
        {
            "hypothesis": "Thompson sampling is clicked more often than chance",
            "placement": campaign,
            "unit": "session_id",
            "seed": f"{campaign}:",
            "control": "random",
            "arms": {
                "random": {"model_version": "fashion/random", "slot": [0.0, 0.5], "ratio": 0.5},
                "thompson": {"model_version": "fashion/thompson", "slot": [0.5, 1.0], "ratio": 0.5},
            },
            "metrics": {"primary": {"name": "hit_rate@3", "minimum_effect": 0.3}, "covariate_weeks": 0},
            "plan": {"units": 20_000, "start": "2019-11-24", "weeks": 1},
        }
    )
    # Requests have no ids of their own: each takes one that the hash gives to the arm that served it.
    ids = pa.array([f"request_{number}" for number in range(50_000)])
    routed = np.asarray(Router(campaign, experiment).route_many(ids))
    arms = {"random": log("random", campaign), "thompson": log("bts", campaign)}
    rows = pd.concat(
        rounds.assign(arm=arm, unit=np.asarray(ids)[routed == arm][: len(rounds)]) for arm, rounds in arms.items()
    )
    engine, end = FakeEngine(), window(experiment)[1]
    tables = log_tables(campaign, rows)
    metrics = unit_metrics(engine, campaign, experiment, tables, now=end, horizon=HOUR, event_type="click")
    health = check_health(engine, campaign, experiment, tables.exposures, now=end)
    return analyse(campaign, experiment, metrics, health), experiment


def log_tables(campaign: str, rows: pd.DataFrame) -> LogTables:
    """Write both logs as an event log of lists of one item, clicked a minute later."""
    # The last hour's outcomes are not known at the end: the week is moved by it.
    at = rows["timestamp"] - HOUR
    at = at.clip(lower=pd.Timestamp("2019-11-24", tz="UTC"))
    count = len(rows)
    items = rows["item_id"].astype(str).tolist()
    exposures = pa.table(
        {
            "request_id": rows["unit"].tolist(),
            "user_id": ["nobody"] * count,
            "session_id": rows["unit"].tolist(),
            "experiment": [campaign] * count,
            "arm": rows["arm"].tolist(),
            "overridden": [False] * count,
            "model_version": ("fashion/" + rows["arm"]).tolist(),
            "weights": [1] * count,
            "fallback": pa.nulls(count, pa.string()),
            "event_timestamp": pa.array(at, schema.TIMESTAMP),
        }
    )
    impressions = pa.table(
        {"request_id": rows["unit"].tolist(), "position": rows["position"].tolist(), "item_id": items}
    )
    clicked = rows["click"] == 1
    clicks = [
        {
            "event_id": unit,
            "event_type": "click",
            "user_id": "nobody",
            "session_id": unit,
            "item_id": str(item),
            "quantity": 1.0,
            "event_timestamp": moment + timedelta(minutes=1),
        }
        for unit, item, moment in zip(rows["unit"][clicked], rows["item_id"][clicked], at[clicked], strict=True)
    ]
    return LogTables(exposures, impressions, pa.Table.from_pylist(clicks, schema.EVENTS))
