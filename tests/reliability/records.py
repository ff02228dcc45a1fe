"""What has to hold for aliases, weights and the ledger after a kill, and once a command has come to its end?"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from recsys.adapters.sql_event_log import SqlLedger
from recsys.decision.alias_moves import CHAMPION, champion_move, latest, moves_of

TAGS = {
    "recsys.model_version",
    "recsys.logic_digest",
    "recsys.data_digest",
    "recsys.known_at",
    "recsys.git_commit",
    "recsys.gate",
    "recsys.gate_reason",
    "feast.feature_service",
}


def check_registry(project: Path) -> None:
    """Every version has all its tags and a finished run; every alias is on record, or on its way with an intent."""
    with registry_of(project) as registry:
        versions = registry.execute("select version, run_id from model_versions where name = 'basket'").fetchall()
        for version, run in versions:
            tags = registry.execute("select key from model_version_tags where version = ?", (version,)).fetchall()
            assert {key for (key,) in tags} >= TAGS
            assert registry.execute("select status from runs where run_uuid = ?", (run,)).fetchone() == ("FINISHED",)
        aliases = dict(registry.execute("select alias, version from registered_model_aliases").fetchall())
    assert set(aliases.values()) <= {version for version, _ in versions}
    recorded: dict[str, int] = {}
    under_way: dict[str, set[int | None]] = {}
    for entry in transactions_of(project):
        for move in moves_of(entry):
            if entry.state == "done":
                recorded[move.alias] = move.after
            elif entry.state == "intent":
                under_way[move.alias] = {move.before, move.after}
    assert len({entry.transaction for entry in transactions_of(project) if entry.state == "intent"}) <= 1
    for alias in {*aliases, *recorded}:
        assert aliases.get(alias) in under_way.get(alias, {recorded.get(alias)}), alias


def check_ended(project: Path) -> None:
    """All of `check_registry`, and nothing is open: no intent, no run, and the champion is the recorded one."""
    check_registry(project)
    entries = transactions_of(project)
    assert not [entry for entry in entries if entry.state == "intent"]
    with registry_of(project) as registry:
        assert not registry.execute("select * from runs where status = 'RUNNING'").fetchall()
    moves = [move for entry in entries if entry.state == "done" and (move := champion_move(entry))]
    assert version_of(project, CHAMPION) == moves[-1].after


def check_promoted(project: Path) -> None:
    """V2 is champion, by one promotion."""
    check_ended(project)
    assert version_of(project, CHAMPION) == version_of(project, "logic-v2")
    done = [entry for entry in transactions_of(project) if entry.state == "done" and entry.payload.get("digest")]
    assert len(done) == 1


def registry_of(project: Path) -> closing[sqlite3.Connection]:
    """Open MLflow's own tables; what is in them is what any MLflow client reads."""
    return closing(sqlite3.connect(project / ".recsys/mlflow.db"))


def version_of(project: Path, alias: str) -> int | None:
    """Return what an alias names."""
    with registry_of(project) as registry:
        row = registry.execute("select version from registered_model_aliases where alias = ?", (alias,)).fetchone()
    return None if row is None else int(row[0])


def transactions_of(project: Path) -> tuple[Any, ...]:
    """Return the newest entry of each transaction on the model's aliases."""
    with closing(ledger_of(project)) as ledger:
        return latest(ledger, "basket")


def replays_of(project: Path) -> Iterator[dict[str, Any]]:
    """Return what the ledger says about replays that came to their end."""
    with closing(ledger_of(project)) as ledger:
        entries = ledger.entries("home_ranker")
    return (dict(entry.payload) for entry in entries if entry.action == "replay" and entry.state == "done")


def log_of(project: Path) -> dict[str, tuple[int, int]]:
    """Digest what a replay logged, without the moment of writing."""
    found = {}
    with closing(sqlite3.connect(project / ".recsys/event_log.db")) as log:
        for table in ("exposures", "impressions", "outcomes"):
            columns = [row[1] for row in log.execute(f"pragma table_info({table})") if row[1] != "written_at"]
            rows = sorted(log.execute(f"select {', '.join(columns)} from {table}").fetchall())
            found[table] = len(rows), hash(tuple(rows))
    return found


def ledger_of(project: Path) -> SqlLedger:
    """Open the ledger; whoever opens it closes it."""
    return SqlLedger(f"sqlite:///{project}/.recsys/event_log.db")
