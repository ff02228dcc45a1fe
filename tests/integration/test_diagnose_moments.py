"""Is one experiment diagnosed before, during and after, with trouble where some was planted, and is nothing touched?"""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recsys.decision.diagnosis import Trouble
from recsys.wiring import open_workspace
from recsys.workflows.monitoring import diagnose
from recsys.workflows.monitoring.diagnose import Diagnosed, diagnose_all
from recsys.workflows.monitoring.drift import drift
from recsys.workflows.workspace import Workspace

START = datetime(2017, 12, 4, tzinfo=UTC)
DURING = datetime(2017, 12, 25, tzinfo=UTC)
"""Three of the four weeks are over, and the labels of what was shown in them are mature."""
LOG = ".recsys/event_log.db"
IN_TREATMENT = "select user_id from exposures where arm = 'treatment'"

Planted = Callable[..., Diagnosed]


@pytest.fixture(scope="module")
def during(replayed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The replayed shop as it stood in the experiment's fourth week: nothing frozen, and nothing logged since."""
    root = tmp_path_factory.mktemp("during") / "project"
    shutil.copytree(replayed.root, root)
    now = int(DURING.timestamp()) * 1_000_000
    later = f"select request_id from exposures where event_timestamp >= {now}"
    change(
        root,
        f"delete from impressions where request_id in ({later})",
        f"delete from exposures where event_timestamp >= {now}",
        f"delete from outcomes where created_timestamp > {now}",
        f"delete from ledger where event_timestamp >= {now}",
    )
    (root / ".recsys/clock.json").write_text(json.dumps({"now": DURING.isoformat()}))
    return open_workspace("local", root)


def change(root: Path, *statements: str) -> None:
    """Run statements on an event log."""
    with closing(sqlite3.connect(root / LOG)) as log, log:
        for statement in statements:
            log.execute(statement)


# ---------------------------------------------------------------- before, during and after; nothing is touched


@pytest.mark.parametrize(("moment", "state"), [("shop", "before"), ("during", "running"), ("replayed", "cut")])
def test_each_moment_has_its_evidence_and_is_left_as_it_was(
    moment: str, state: str, request: pytest.FixtureRequest, told: dict[str, dict[str, Any]]
) -> None:
    """Declarations, ledger, log, registry and every file of the state are the same byte for byte, or row for row."""
    root = request.getfixturevalue(moment).root
    before = contents(root)
    command = [sys.executable, "-m", "recsys", "diagnose", "home_ranker", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = contents(root)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {".recsys/reports/basket/v2-drift.json"}
    assert {"registry/experiments/home_ranker.yaml", LOG, ".recsys/mlflow.db", ".recsys/online.db"} <= before.keys()
    (found,) = json.loads(done.stdout)
    assert (found["arm"], found["state"], found["trouble"]) == ("treatment", state, "unclear")
    assert found["model"]["signal"] == "good"
    told[moment] = found


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    """What was said at each moment so far."""
    return {}


def test_a_running_experiment_is_judged_by_the_bounds_that_hold_at_every_look(told: dict[str, dict[str, Any]]) -> None:
    gate = told["shop"]["model"]["metric"]
    assert gate == "gate at the training: ndcg@10/user over personal_frequency"
    assert told["shop"]["orders"]["interval"] is None
    assert any("the label of the next one is mature at 2017-12-11" in remark for remark in told["shop"]["remarks"])
    for each in told.values():  # the shop has none, and no waiting brings any
        assert each["clicks"]["signal"] == "none"
        assert each["clicks"]["metric"] == "none declared: the problem's funnel has no stage before its target"
        assert not any("Clicks" in step for step in each["next"])
    metrics = {told[moment]["model"]["metric"] for moment in ("during", "replayed")}
    assert metrics == {"ndcg@10/user over personal_frequency"}
    running, over = (told[moment]["orders"] for moment in ("during", "replayed"))
    assert running["metric"] == over["metric"] == "precision@10"
    widths = [each["interval"]["upper"] - each["interval"]["lower"] for each in (running, over)]
    assert widths[0] > 1.5 * widths[1]


# ---------------------------------------------------------------- trouble while it runs


@pytest.fixture(scope="module")
def planted(during: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Diagnoses a copy with a log in which something went wrong; drift, which reads no log, is looked at once."""
    once = drift(during, "basket/v2")

    def diagnosed(*statements: str) -> Diagnosed:
        root = tmp_path_factory.mktemp("planted") / "project"
        shutil.copytree(during.root, root)
        change(root, *statements)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(diagnose, "drift", lambda *_: once)
            (found,) = diagnose_all(open_workspace("local", root), "home_ranker")
        assert found.state == "running"
        return found

    return diagnosed


def test_begun_and_not_served_it_says_so(planted: Planted) -> None:
    found = planted("delete from exposures", "delete from impressions")
    assert (found.orders.signal, found.orders.metric) == ("unclear", "nothing was logged yet")
    assert any("no exposures of placement home" in remark for remark in found.remarks)
    assert found.diagnosis.trouble is Trouble.UNCLEAR


def test_lists_by_a_fallback_are_the_pages(planted: Planted) -> None:
    some = "arm = 'treatment' and substr(user_id, -1) in ('1', '2')"
    found = planted(f"update exposures set fallback = 'popular' where {some}")
    assert found.diagnosis.trouble is Trouble.PAGE
    assert "of the lists were answered by a fallback" in found.diagnosis.reason
    assert [alert.check for alert in found.alerts] == ["diagnose"]


def test_units_that_are_missing_from_an_arm_are_the_measurements(planted: Planted) -> None:
    lost = "substr(user_id, -1) in ('1', '2', '3', '4', '5', '6')"
    found = planted(f"delete from exposures where user_id in ({IN_TREATMENT}) and {lost}")
    assert found.diagnosis.trouble is Trouble.MEASUREMENT
    assert "not healthy" in found.diagnosis.reason


def test_orders_that_fall_under_a_good_model_are_the_problems_stage(planted: Planted) -> None:
    """Of what the treatment's units took since the start a tenth is there: it loses surely, before its end too."""
    since = int(START.timestamp()) * 1_000_000
    mine = f"event_timestamp > {since} and user_id in ({IN_TREATMENT})"
    found = planted(f"delete from outcomes where {mine} and rowid % 10 > 0")
    assert (found.model.signal, found.clicks.signal, found.orders.signal) == ("good", "none", "bad")
    assert found.diagnosis.trouble is Trouble.STAGE
    assert found.diagnosis.next_steps


# ---------------------------------------------------------------- what a project holds


def contents(root: Path) -> dict[str, str]:
    """Return a digest of each file of a project: of a database of its rows, for its pages move by themselves."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not path.is_file() or "__pycache__" in name or name.startswith(".recsys/locks/"):
            continue
        if path.name.endswith(("-wal", "-shm")):
            continue
        found[name] = rows_digest(path) if path.suffix == ".db" and is_sqlite(path) else file_digest(path)
    return found


def is_sqlite(path: Path) -> bool:
    """Say whether a file is a database of SQLite."""
    with path.open("rb") as file:
        return file.read(15) == b"SQLite format 3"


def rows_digest(path: Path) -> str:
    """Digest the rows of every table."""
    sums = hashlib.sha256()
    with closing(sqlite3.connect(path)) as database:
        named = "select name from sqlite_master where type = 'table' order by name"
        for (table,) in database.execute(named).fetchall():
            sums.update(table.encode())
            for row in database.execute(f'select * from "{table}"'):
                sums.update(repr(row).encode())
    return sums.hexdigest()


def file_digest(path: Path) -> str:
    """Digest the bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
