"""Does a kill -9 at any moment leave everything as it was or as it should be, and does the next run complete?"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.adapters.sql_event_log import SqlLedger
from recsys.decision.alias_moves import CHAMPION, champion_move, latest, moves_of
from recsys.schema import EVENT_TIMESTAMP, ITEM, LINE, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.wiring import open_workspace
from tests.reliability.conftest import Forker, Shop

KILLS = 30
ROUNDS = 3
"""How often each project is killed before a run may complete; every run but the first begins on what a kill left."""
AT_ONCE = 3
"""Commands that run at a time, each on a project of its own."""
FACTOR = 0.7390851332151607
"""Numbers are rounded for a digest after this: prices and shares would often lie where rounding goes up or down."""
VIEWS = ("user_weekly", "item_weekly", "user_item", "user_line")
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

Check = Callable[[Path], None]


def ordeal(forker: Forker, shop: Shop, command: tuple[str, ...], check: Check, final: Check) -> None:
    """Kill a command `KILLS` times at uniformly random moments of its undisturbed duration, and let it complete.

    Args:
        forker: runs and kills it.
        shop: what it begins on.
        command: name and arguments.
        check: has to hold after each kill, and at the end.
        final: has to hold once a run has completed.
    """
    chance = np.random.default_rng(20171204)
    duration = _undisturbed(forker, shop, command)
    projects = [shop.copy(f"{command[0]}-{lane}") for lane in range(AT_ONCE)]
    suffered = [0] * AT_ONCE
    while sum(suffered) < KILLS:
        moments = chance.uniform(0, duration, AT_ONCE)
        answers = forker.together(
            *(
                {"project": str(project), "command": command, "kill_after": moment}
                for project, moment in zip(projects, moments, strict=True)
            )
        )
        for lane, answer in enumerate(answers):
            assert answer["killed"] or not answer["error"], answer
            suffered[lane] += answer["killed"]
            check(projects[lane])
        over = sum(suffered) >= KILLS
        ready = [
            projects[lane]
            for lane, answer in enumerate(answers)
            if over or not answer["killed"] or suffered[lane] % ROUNDS == 0
        ]
        for project, answer in zip(ready, _run(forker, ready, command), strict=True):
            assert answer["code"] == 0, answer
            check(project)
            final(project)
            assert not list((project / ".recsys").rglob("*.partial")), "the next run removes what is half-written"
            shop.copy(project.name)
    for project in projects:
        shutil.rmtree(project)


def _undisturbed(forker: Forker, shop: Shop, command: tuple[str, ...]) -> float:
    """Return the seconds that the command takes with as many beside it."""
    projects = [shop.copy(f"undisturbed-{lane}") for lane in range(AT_ONCE)]
    answers = _run(forker, projects, command)
    for project, answer in zip(projects, answers, strict=True):
        assert answer["code"] == 0, answer
        shutil.rmtree(project)
    return max(answer["seconds"] for answer in answers)


def _run(forker: Forker, projects: list[Path], command: tuple[str, ...]) -> list[dict[str, Any]]:
    return forker.together(*({"project": str(project), "command": command} for project in projects))


# ---------------------------------------------------------------- what has to hold after each kill


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
    """Nothing is open: no intent, no run, and the champion is the recorded one."""
    entries = transactions_of(project)
    assert not [entry for entry in entries if entry.state == "intent"]
    with registry_of(project) as registry:
        assert not registry.execute("select * from runs where status = 'RUNNING'").fetchall()
        champion = registry.execute(
            "select version from registered_model_aliases where alias = ?", (CHAMPION,)
        ).fetchone()
    moves = [move for entry in entries if entry.state == "done" and (move := champion_move(entry))]
    assert champion == (moves[-1].after,)


def registry_of(project: Path) -> sqlite3.Connection:
    """Open MLflow's own tables; what is in them is what any MLflow client reads."""
    return sqlite3.connect(project / ".recsys/mlflow.db")


def transactions_of(project: Path) -> tuple[Any, ...]:
    """Return the newest entry of each transaction."""
    ledger = SqlLedger(f"sqlite:///{project}/.recsys/event_log.db")
    try:
        return latest(ledger, "basket")
    finally:
        ledger.close()


def version_of(project: Path, alias: str) -> int | None:
    """Return what an alias names."""
    with registry_of(project) as registry:
        row = registry.execute("select version from registered_model_aliases where alias = ?", (alias,)).fetchone()
    return None if row is None else int(row[0])


# ---------------------------------------------------------------- features build


@pytest.fixture(scope="module")
def changed(first: Shop) -> Shop:
    """The first shop, with purchases that came in after its features were built."""
    project = first.copy("changed")
    events = project / ".recsys/tables/events.parquet"
    rows = pq.read_table(events)
    late = rows.slice(len(rows) // 2, 200).to_pylist()
    for number, row in enumerate(late):
        row |= {"event_id": f"late-{number}", "event_timestamp": datetime(2017, 11, 28, 10, tzinfo=UTC)}
        row["created_timestamp"] = row["event_timestamp"]
    pq.write_table(pa.concat_tables([rows, pa.Table.from_pylist(late, rows.schema)]), events)
    return Shop(project, first.scratch)


def tables_of(project: Path) -> dict[str, tuple[int, int]]:
    """Digest each feature table."""
    files = {name: pq.read_table(project / f".recsys/features/{name}") for name in VIEWS}
    return {name: _content(table) for name, table in files.items()}


def online_of(project: Path) -> dict[str, tuple[int, int]]:
    """Digest each view's online rows."""
    features = open_workspace("local", project).features
    return {name: _content(features.online_all(name)) for name in VIEWS}


def _content(rows: pa.Table) -> tuple[int, int]:
    """Digest rows whatever their order; sums of floats differ in the last digits from build to build."""
    columns = (
        f"round({field.name} * {FACTOR}, 6)" if pa.types.is_floating(field.type) else field.name
        for field in rows.schema
    )
    with duckdb.connect() as connection:
        connection.register("found", rows)
        count, digest = connection.execute(
            f"select count(*), sum(hash({', '.join(columns)})::hugeint) from found"
        ).fetchone()
    return int(count), int(digest)


def test_features_build(forker: Forker, changed: Shop) -> None:
    done = changed.copy("features-done")
    before = tables_of(done), online_of(done)
    assert forker.run(done, "features")["code"] == 0
    after = tables_of(done), online_of(done)
    assert before[0] != after[0]
    assert before[1] != after[1]

    def check(project: Path) -> None:
        for old, new, found in zip(before, after, (tables_of(project), online_of(project)), strict=True):
            for name in VIEWS:
                assert found[name] in (old[name], new[name]), name
        check_reads(project)

    def final(project: Path) -> None:
        assert (tables_of(project), online_of(project)) == after

    ordeal(forker, changed, ("features",), check, final)
    shutil.rmtree(done)


def check_reads(project: Path) -> None:
    """A user's rows can be read online, and features joined for training: a view in MATERIALIZING blocks neither."""
    features = open_workspace("local", project).features
    household = features.online_all("user_weekly")[USER][0].as_py()
    assert features.online_group("user_item", household) is not None
    at = pa.array([datetime(2017, 11, 27, tzinfo=UTC)], TIMESTAMP)
    row = {USER: [household], ITEM: ["product_1"], LINE: ["1/x"], EVENT_TIMESTAMP: at, REQUEST_TIMESTAMP: at}
    assert len(features.historical(pa.table(row), features.feature_set("basket_frequency"))) == 1


@pytest.mark.parametrize("step", [("rename", 0, "after"), ("rename", 2, "before"), ("write_arrow", 1, "after")])
def test_a_build_that_was_reverted_after_a_kill_is_not_taken_for_done(
    forker: Forker, changed: Shop, first: Shop, step: tuple[str, int, str]
) -> None:
    project = changed.copy("reverted")
    assert forker.run(project, "features", die_at=step)["killed"]
    shutil.copy(first.template / ".recsys/tables/events.parquet", project / ".recsys/tables/events.parquet")
    refused = forker.run(project, "train", "basket/v2")
    if step[0] == "rename":
        assert "features build" in refused["error"]
    assert forker.run(project, "features")["code"] == 0
    assert tables_of(project) == tables_of(first.template)


# ---------------------------------------------------------------- train


def check_trained(project: Path) -> None:
    """One set of weights of v2, in service by the record, and loadable."""
    check_ended(project)
    weights = [found for found in open_workspace("local", project).registry.search("basket") if found.version == "v2"]
    assert len(weights) == 1
    assert version_of(project, "logic-v2") == weights[0].number
    assert version_of(project, CHAMPION) == 1


def test_train(forker: Forker, first: Shop) -> None:
    ordeal(forker, first, ("train", "basket/v2"), check_registry, check_trained)


@pytest.mark.parametrize(
    "step",
    [
        ("record_run", 0, "after"),
        ("record_model", 0, "after"),
        ("record_version", 0, "after"),
        ("append", 0, "after"),
        ("set_alias", 0, "after"),
        ("append", 1, "after"),
    ],
)
def test_train_killed_between_two_steps(forker: Forker, first: Shop, step: tuple[str, int, str]) -> None:
    project = first.copy("train-step")
    assert forker.run(project, "train", "basket/v2", die_at=step)["killed"]
    check_registry(project)
    assert forker.run(project, "train", "basket/v2")["code"] == 0
    check_registry(project)
    check_trained(project)
    workspace = open_workspace("local", project)
    served = workspace.registry.resolve("basket", "logic-v2")
    assert served is not None
    assert workspace.registry.load(served).columns


# ---------------------------------------------------------------- promote


def check_promoted(project: Path) -> None:
    """V2 is champion, by one promotion."""
    check_ended(project)
    assert version_of(project, CHAMPION) == version_of(project, "logic-v2")
    done = [entry for entry in transactions_of(project) if entry.state == "done" and entry.payload.get("digest")]
    assert len(done) == 1


def test_promote(forker: Forker, second: Shop) -> None:
    ordeal(forker, second, ("promote", "home_ranker"), check_registry, check_promoted)


@pytest.mark.parametrize(
    "step",
    [
        ("append", 0, "after"),
        ("set_alias", 0, "after"),
        ("append", 1, "after"),
    ],
)
def test_promote_killed_between_two_steps(forker: Forker, second: Shop, step: tuple[str, int, str]) -> None:
    project = second.copy("promote-step")
    assert forker.run(project, "promote", "home_ranker", die_at=step)["killed"]
    check_registry(project)
    assert forker.run(project, "promote", "home_ranker")["code"] == 0
    check_registry(project)
    check_promoted(project)


# ---------------------------------------------------------------- replay


def log_of(project: Path) -> dict[str, tuple[int, int]]:
    """Digest what a replay logged, without the moment of writing."""
    found = {}
    with sqlite3.connect(project / ".recsys/event_log.db") as log:
        for table in ("exposures", "impressions", "outcomes"):
            columns = [row[1] for row in log.execute(f"pragma table_info({table})") if row[1] != "written_at"]
            rows = sorted(log.execute(f"select {', '.join(columns)} from {table}").fetchall())
            found[table] = len(rows), hash(tuple(rows))
    return found


def replays_of(project: Path) -> Iterator[dict[str, Any]]:
    """Return what the ledger says about replays that came to their end."""
    ledger = SqlLedger(f"sqlite:///{project}/.recsys/event_log.db")
    try:
        entries = ledger.entries("home_ranker")
    finally:
        ledger.close()
    return (dict(entry.payload) for entry in entries if entry.action == "replay" and entry.state == "done")


def test_replay(forker: Forker, second: Shop) -> None:
    done = second.copy("replay-done")
    clock = open_workspace("local", done).clock.now()
    assert forker.run(done, "replay", "home_ranker")["code"] == 0
    expected, record = log_of(done), list(replays_of(done))
    end = open_workspace("local", done).clock.now()
    assert expected["exposures"][0] > 0

    def check(project: Path) -> None:
        check_registry(project)
        for table, (rows, _) in log_of(project).items():
            assert rows <= expected[table][0]
        assert open_workspace("local", project).clock.now() in (clock, end)

    def final(project: Path) -> None:
        assert log_of(project) == expected
        assert list(replays_of(project)) == record
        assert open_workspace("local", project).clock.now() == end

    ordeal(forker, second, ("replay", "home_ranker"), check, final)
    shutil.rmtree(done)


def test_a_half_replay_is_not_completed_by_other_weights(forker: Forker, second: Shop) -> None:
    project = second.copy("replay-half")
    killed = forker.run(project, "replay", "home_ranker", die_at=("write_exposures", 0, "after"))
    assert killed["killed"]
    with registry_of(project) as registry:
        registry.execute("update registered_model_aliases set version = 1 where alias = 'logic-v2'")
    assert "a part of a replay" in forker.run(project, "replay", "home_ranker")["error"]


# ---------------------------------------------------------------- serve-batch


@pytest.mark.parametrize("number", [0, 1])
def test_a_batch_killed_while_it_replaces_another(forker: Forker, second: Shop, number: int) -> None:
    project = second.copy("batch")
    assert forker.run(project, "serve-batch", "home")["code"] == 0
    folder = project / ".recsys/batch/home/date=2017-12-04"
    old = (folder / "_manifest.json").read_text()
    assert forker.run(project, "promote", "home_ranker")["code"] == 0
    assert forker.run(project, "serve-batch", "home", die_at=("rename", number, "after"))["killed"]
    assert forker.run(project, "serve-batch", "home")["code"] == 0
    assert (folder / "_manifest.json").read_text() != old
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    rows = pq.read_table(folder)
    assert len(rows) == 10 * len(set(rows[USER].to_pylist()))
