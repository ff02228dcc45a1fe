"""Is a Feast configuration read with its variables, and what does a doctor say of what it names?"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.adapters.feast_configuration import read_configuration, registry_is_empty
from recsys.adapters.feast_features import FeastFeatures, feast_registry_findings, online_store_findings
from recsys.adapters.repository_modules import importable
from recsys.errors import FeatureError, SpecError, StoreError
from recsys.ports import Finding
from tests.servers import postgres_database

NAME = "feature_store.yaml"
PACKED = "recsys.adapters.packed_online_store.PackedSqliteOnlineStore"


def configured(folder: Path, **changes: Any) -> Path:
    content = {
        "project": "shop",
        "provider": "local",
        "registry": "registry.db",
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": PACKED, "path": "online.db"},
        "entity_key_serialization_version": 3,
    }
    (folder / NAME).write_text(yaml.safe_dump(content | changes))
    return folder


def online(folder: Path) -> list[Finding]:
    return list(online_store_findings(folder, NAME))


def test_variables_are_read_and_those_in_comments_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_REGISTRY", "elsewhere.db")
    monkeypatch.delenv("SHOP_OLD", raising=False)
    (tmp_path / NAME).write_text("# url: ${SHOP_OLD}\nregistry: ${SHOP_REGISTRY} # not ${SHOP_OLD}\n")
    assert read_configuration(tmp_path / NAME) == {"registry": "elsewhere.db"}
    (tmp_path / NAME).write_text("registry: ${SHOP_OLD}\n")
    with pytest.raises(SpecError, match=rf"{tmp_path.name}/{NAME}: \$\{{SHOP_OLD\}}: environment variable SHOP_OLD"):
        read_configuration(tmp_path / NAME)


@pytest.mark.parametrize(("text", "said"), [("a: [", "not YAML"), ("just text", "mapping"), ("", "mapping")])
def test_a_configuration_that_is_none_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(FeatureError, match=said):
        read_configuration(tmp_path / NAME)


def test_a_packed_file_store_is_written_read_and_left_as_it_was(tmp_path: Path) -> None:
    import sqlite3

    assert [(each.name, each.status) for each in online(configured(tmp_path))] == [
        ("online store: connection", "ok"),
        ("online store: rows", "ok"),
    ]
    kept = sqlite3.connect(tmp_path / "online.db")
    tables = [name for (name,) in kept.execute("select name from sqlite_master where type = 'table'")]
    assert all(kept.execute(f"select count(*) from {name}").fetchone() == (0,) for name in tables)
    kept.close()


def test_a_store_file_that_is_damaged_fails(tmp_path: Path) -> None:
    (tmp_path / "online.db").write_bytes(b"no database" * 1000)
    with pytest.raises(FeatureError, match="the file is damaged"):
        online(configured(tmp_path))


def test_a_store_that_requests_cannot_read_fails_by_its_type(tmp_path: Path) -> None:
    (said,) = online(configured(tmp_path, online_store={"type": "sqlite", "path": "online.db"}))
    assert (said.status, said.found) == ("failed", "SqliteOnlineStore")


def test_a_registry_file_is_there_or_will_be_where_its_folder_can_be_written(tmp_path: Path) -> None:
    (said,) = feast_registry_findings(configured(tmp_path), NAME)
    assert said.status == "ok"
    assert "recsys apply" in said.found
    (tmp_path / "registry.db").write_bytes(b"")
    (said,) = feast_registry_findings(tmp_path, NAME)
    assert (said.status, said.found) == ("ok", str(tmp_path / "registry.db"))


def test_a_registry_whose_server_is_closed_is_one_line_everywhere(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    address = "postgresql+psycopg://who:topsecret@127.0.0.1:1/feast"
    configured(tmp_path, registry={"registry_type": "sql", "path": address})
    (said,) = feast_registry_findings(tmp_path, NAME)
    assert said.status == "failed"
    for use in (lambda: registry_is_empty(NAME, address), lambda: FeastFeatures(tmp_path, NAME).feature_set("any")):
        with pytest.raises(StoreError, match=f"Feast registry of {NAME}: cannot be read") as caught:
            use()
        assert "topsecret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.server
def test_an_empty_database_is_no_applied_registry_and_stays_empty(tmp_path: Path) -> None:
    with postgres_database() as url:
        configured(tmp_path, registry={"registry_type": "sql", "path": url})
        assert {each.status for each in feast_registry_findings(tmp_path, NAME)} == {"ok"}
        assert registry_is_empty(NAME, url)


def test_a_repository_is_told_whose_state_it_reads_and_only_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_STATE", "by-hand")
    with importable(tmp_path / "..", tmp_path / ".." / ".recsys-production"):
        assert os.environ["RECSYS_STATE"] == ".recsys-production"
    assert os.environ["RECSYS_STATE"] == "by-hand"
    monkeypatch.delenv("RECSYS_STATE")
    with importable(tmp_path, None):
        assert "RECSYS_STATE" not in os.environ
