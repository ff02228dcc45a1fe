"""Is a made-up shop on disk whole, the same each time, and of use to the other stages?"""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from scipy import stats

from recsys import schema
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.errors import DataError, SpecError, StoreError
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.simulation.population import USERS_PER_BLOCK
from recsys.simulation.rows import EXPOSURES, IMPRESSIONS
from recsys.specs.environment import Limits
from recsys.specs.experiment import Experiment
from recsys.specs.simulation import Simulation
from recsys.workflows.data.simulate import SimulatedShop, read_simulation, simulate
from tests.packaging.run_all import ROOT

SMALL = Simulation(users=200, days=21)
RECSYS = [sys.executable, "-m", "recsys"]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def run(*arguments: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [*RECSYS, "simulate", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


# ---------------------------------------------------------------- what is written


def test_files_have_the_columns_of_the_schema_and_the_rows_of_the_manifest(tmp_path: Path) -> None:
    done = simulate(SMALL, tmp_path / "shop")
    manifest = json.loads((tmp_path / "shop" / "manifest.json").read_text(encoding="utf-8"))
    columns = {
        "events": schema.EVENTS,
        "exposures": EXPOSURES,
        "impressions": IMPRESSIONS,
        "items": schema.ITEMS,
        "users": schema.USERS,
    }
    assert set(manifest["tables"]) == set(done.tables) == set(columns)
    for name, wanted in columns.items():
        path = tmp_path / "shop" / name
        table = pq.read_table(path if path.is_dir() else path.with_suffix(".parquet"))
        assert table.schema == wanted
        assert len(table) == manifest["tables"][name]["rows"] == done.tables[name].rows


def test_truth_names_parameters_seed_and_the_digest_of_every_table(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path)
    truth = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert truth["seed"] == SMALL.seed
    assert Simulation.model_validate(truth["simulation"]) == SMALL
    for name in ("items", "users"):
        found = hashlib.sha256((tmp_path / f"{name}.parquet").read_bytes()).hexdigest()
        assert truth["tables"][name]["sha256"] == found
    part = (tmp_path / "events" / "part-00000.parquet").read_bytes()
    assert truth["tables"]["events"]["sha256"] == hashlib.sha256(part).hexdigest()


def test_the_same_declaration_gives_the_same_bytes(tmp_path: Path) -> None:
    several_blocks = Simulation(users=USERS_PER_BLOCK + 50, days=2, page={"slots": 3})
    progress: list[tuple[int, int]] = []
    for name in ("one", "other"):
        simulate(several_blocks, tmp_path / name, lambda done, total: progress.append((done, total)))
    assert content(tmp_path / "one") == content(tmp_path / "other")
    assert len(list((tmp_path / "one" / "events").iterdir())) == 2
    assert progress[:3] == [(done, USERS_PER_BLOCK + 50) for done in (0, USERS_PER_BLOCK, USERS_PER_BLOCK + 50)]
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / "one" / "events").iterdir())
    ]
    truth = json.loads((tmp_path / "one" / "truth.json").read_text(encoding="utf-8"))
    assert truth["tables"]["events"]["sha256"] == hashlib.sha256("".join(digests).encode()).hexdigest()


def test_without_exposures_nothing_shown_is_written(tmp_path: Path) -> None:
    done = simulate(Simulation(users=20, days=5, exposures=False), tmp_path)
    assert set(done.tables) == {"events", "items", "users"}
    assert not (tmp_path / "impressions").exists()


# ---------------------------------------------------------------- whose folder it is


def test_a_finished_shop_is_kept_and_another_one_takes_its_place(tmp_path: Path) -> None:
    first = simulate(SMALL, tmp_path)
    before = content(tmp_path)
    again = simulate(SMALL, tmp_path)
    assert again.reused
    assert (again.tables, again.truth) == (first.tables, first.truth)
    assert content(tmp_path) == before
    other = simulate(SMALL.model_copy(update={"seed": 2, "exposures": False}), tmp_path)
    assert not other.reused
    assert not (tmp_path / "exposures").exists()


def test_a_shop_with_a_file_missing_is_made_anew(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path)
    before = content(tmp_path)
    (tmp_path / "events" / "part-00000.parquet").unlink()
    assert not simulate(SMALL, tmp_path).reused
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "events", "manifest.json"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=f"holds {name}, which `recsys simulate` did not write"):
        simulate(SMALL, tmp_path)
    assert content(tmp_path) == {name: b"mine"}


def test_a_shop_beside_which_somebody_put_a_file_is_left_alone(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    before = content(tmp_path)
    with pytest.raises(DataError, match=r"holds notes\.txt"):
        simulate(SMALL.model_copy(update={"seed": 2}), tmp_path)
    assert content(tmp_path) == before


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="is a file"):
        simulate(SMALL, tmp_path / "shop")


def test_two_do_not_write_into_one_folder(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path)
    with (tmp_path / ".simulation").open("a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another `recsys simulate` is writing there"):
            simulate(SMALL, tmp_path)


def test_a_killed_run_leaves_no_finished_shop_and_the_next_one_makes_it(tmp_path: Path) -> None:
    arguments = ["--users", str(6 * USERS_PER_BLOCK), "--days", "20"]
    killed = tmp_path / "killed"
    command = [*RECSYS, "simulate", "--out", str(killed), *arguments]
    process = subprocess.Popen(command, env=environment(), cwd=tmp_path)
    wait_for(lambda: (killed / "events" / "part-00001.parquet").exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "manifest.json").exists()
    assert not (killed / "users.parquet").exists()
    assert not (killed / "items.parquet").exists()
    pq.read_table(killed / "events" / "part-00000.parquet")

    run("--out", str(killed), *arguments, folder=tmp_path)
    run("--out", "whole", *arguments, folder=tmp_path)
    assert content(killed) == content(tmp_path / "whole")


def wait_for(there: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until
        time.sleep(0.005)


# ---------------------------------------------------------------- memory


WORK = """
import sys
from pathlib import Path
from recsys.specs.simulation import Simulation
from recsys.workflows.data.simulate import simulate
simulate(Simulation(users=int(sys.argv[1]), days=28), Path(sys.argv[2]))
"""
# A process inherits the peak of whoever started it, and this one may be large: a small one starts it.
MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // (1024 if sys.platform == "darwin" else 1))
"""


def test_memory_does_not_grow_with_users(tmp_path: Path) -> None:
    peak = {}
    for blocks in (2, 10):
        command = [sys.executable, "-c", MEASURE, WORK, str(blocks * USERS_PER_BLOCK), str(tmp_path / str(blocks))]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        peak[blocks] = int(done.stdout) / 1024
    assert peak[10] < peak[2] + 30, f"MiB at their peak, by blocks of users: {peak}"
    assert peak[10] < 500


# ---------------------------------------------------------------- of use to others


TRIAL: Any = {
    "name": "ranker",
    "seed": "ranker-1:",
    "start": "2024-01-15",
    "weeks": 2,
    "arms": {"control": {"ratio": 0.5}, "treatment": {"ratio": 0.5, "effects": {"click": 0.2}}},
}
EXPERIMENT = Experiment.model_validate(
    {
        "hypothesis": "the arm sells more",
        "placement": "home",
        "seed": "ranker-1:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0, 0.5], "ratio": 0.5},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1], "ratio": 0.5},
        },
        "metrics": {"primary": {"name": "hit_rate@10", "minimum_effect": 0.05}, "covariate_weeks": 2},
        "plan": {"units": 100, "start": "2024-01-15", "weeks": 2},
    }
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> SimulatedShop:
    page = {"per_session": 1}
    shop = Simulation(users=1_500, days=29, trial=TRIAL, page=page, orders={"late": 0, "cancelled": 0})
    return simulate(shop, tmp_path_factory.mktemp("trial"))


def test_an_evaluation_reads_the_folder_as_an_event_log(trial: SimulatedShop, tmp_path: Path) -> None:
    """With one page a session and a horizon of an hour, an order belongs to its own page."""
    log = LogTables(trial.out / "exposures", trial.out / "impressions", trial.out / "events")
    metrics = unit_metrics(
        DuckDBEngine(Limits(), tmp_path / "spill"),
        "ranker",
        EXPERIMENT,
        log,
        now=datetime(2024, 1, 30, tzinfo=UTC),
        horizon=timedelta(hours=1),
    )
    units = metrics.units
    for name, arm in trial.truth["trial"]["arms"].items():
        own = units.filter(pc.equal(units["arm"], name))
        assert pc.sum(own["exposures"]).as_py() == arm["pageviews"]
        hits, pages = (pc.sum(own[f"hit_rate@10:{part}"]).as_py() for part in ("numerator", "denominator"))
        low, high = stats.binom.interval(1 - 1e-6, int(pages), arm["rates"]["pageviews_with_purchase"])
        assert low <= hits <= high
    assert not pc.any(units["several_arms"]).as_py()
    assert pc.sum(units["hit_rate@10:covariate_denominator"]).as_py() > 0


def test_the_newest_version_of_an_event_is_found_by_its_id(tmp_path: Path) -> None:
    simulate(Simulation(users=300, days=60, orders={"cancelled": 0.5}, complete=True), tmp_path)
    engine = DuckDBEngine(Limits(), tmp_path / "spill")
    counts = engine.query(
        "select count(*) filter (quantity = 0) as cancelled, count(*) as orders from (select * from events"
        " where event_type = 'purchase'"
        " qualify row_number() over (partition by event_id order by created_timestamp desc) = 1)",
        {"events": tmp_path / "events"},
    ).to_pylist()[0]
    assert counts["cancelled"] / counts["orders"] == pytest.approx(0.5, abs=0.05)


def test_parts_are_read_as_one_table(trial: SimulatedShop) -> None:
    table = ds.dataset(trial.out / "events").to_table()
    assert pa.types.is_string(table.schema.field("user_id").type)
    assert len(table) == trial.tables["events"].rows


# ---------------------------------------------------------------- from the command line


def test_the_command_writes_a_shop_and_says_what_it_is(tmp_path: Path) -> None:
    arguments = ["--out", "shop", "--users", "50", "--items", "100", "--days", "14", "--start", "2023-05-01"]
    said = run(*arguments, "--seed", "9", folder=tmp_path).stdout
    assert "pageviews_with_purchase" in said
    assert "written in" in said
    document = json.loads(run(*arguments, "--seed", "9", "--json", folder=tmp_path).stdout)
    assert document["reused"]
    assert document["tables"]["users"]["rows"] == 50
    assert document["tables"]["items"]["rows"] == 100
    assert 0 < document["rates"]["click_per_slot"] < 1
    first = pc.min(pq.read_table(tmp_path / "shop" / "events")["event_timestamp"]).as_py()
    assert datetime(2023, 5, 1, tzinfo=UTC) <= first < datetime(2023, 5, 8, tzinfo=UTC)


def test_options_go_before_the_file(tmp_path: Path) -> None:
    fields = {
        "users": 40,
        "days": 7,
        "assortment": {"items": 60, "zipf": 1.2},
        "trial": {**TRIAL, "start": None, "weeks": 1},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    arguments = ["--out", "shop", "--spec", "spec.yaml", "--items", "70", "--users", "30"]
    said = run(*arguments, folder=tmp_path).stdout
    assert "true effect: purchase_per_pageview" in said
    assert "+20.0%" in said
    truth = json.loads((tmp_path / "shop" / "truth.json").read_text(encoding="utf-8"))
    assert truth["simulation"]["assortment"]["items"] == 70
    assert truth["simulation"]["assortment"]["zipf"] == 1.2
    assert (truth["simulation"]["users"], truth["simulation"]["days"]) == (30, 7)


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    refused = run("--out", ".", folder=tmp_path, code=1).stderr
    assert refused.startswith("error: .: holds mine.txt")
    assert len(refused.splitlines()) == 1
    missing = run("--out", "shop", "--spec", "nowhere.yaml", folder=tmp_path, code=1).stderr
    assert missing.startswith("error: nowhere.yaml: No such file")
    run("--users", "3", folder=tmp_path, code=2)


@pytest.mark.parametrize(
    ("text", "asked", "finding"),
    [
        ("users: many", {}, "users: 'many'"),
        ("users: 5\nclicks: 3", {}, "clicks: not a field here"),
        ("assortment: 3", {"items": 10}, "assortment: 3"),
        ("- users", {}, "a list: a declaration is a mapping"),
        ("users: [", {}, "not YAML"),
        ("trial: {arms: {a: {ratio: 0.7}, b: {ratio: 0.7}}}", {}, "arm b: ratio 0.7 does not fit"),
    ],
)
def test_a_wrong_declaration_is_named(tmp_path: Path, text: str, asked: dict[str, Any], finding: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        read_simulation(path, asked)
    assert finding in str(refused.value)
    assert str(path) in str(refused.value)


def test_help_names_the_defaults_of_the_declaration(tmp_path: Path) -> None:
    said = " ".join(run("--help", folder=tmp_path).stdout.split())
    shop = Simulation()
    for text in (f"Users; {shop.users:,} by", f"Items; {shop.assortment.items:,} by", f"Days; {shop.days} by"):
        assert text in said
    assert f"{shop.start:%Y-%m-%d} by default" in said
