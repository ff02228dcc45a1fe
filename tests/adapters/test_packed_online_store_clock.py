"""Do Feast's reads judge a TTL by the same clock as the environment?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from recsys.adapters.clocks import ReplayedClock
from recsys.adapters.packed_online_store.clock import present
from recsys.specs.catalog import load
from tests.adapters.packed_stores import repo_config, sqlite_settings

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = Path(__file__).parents[2]


def test_a_replayed_clock_is_where_the_environments_is(tmp_path: Path) -> None:
    clock = ReplayedClock(tmp_path / "clock.json", START)
    settings = {**sqlite_settings(), "clock": {"replay_from": START.isoformat(), "position": "clock.json"}}
    config = repo_config(tmp_path, settings)
    assert present(config) == clock.now() == START
    clock.move(START + timedelta(days=3, microseconds=1))
    assert present(config) == clock.now() == START + timedelta(days=3, microseconds=1)


def test_the_machines_clock_is_the_default(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    assert before <= present(repo_config(tmp_path, sqlite_settings())) <= datetime.now(UTC)


def test_the_shipped_configuration_names_the_environments_clock() -> None:
    environment = load(PROJECT / "registry").environment("local")
    folder = PROJECT / environment.feature_repo
    settings = yaml.safe_load((folder / environment.feature_store).read_text(encoding="utf-8"))["online_store"]
    config = repo_config(folder, settings)
    assert environment.clock != "system"
    assert config.online_store.clock.replay_from.replace(tzinfo=UTC) == environment.clock.replay_from
    position = (folder / config.online_store.clock.position).resolve()
    assert position == (PROJECT / environment.state / "clock.json").resolve()
