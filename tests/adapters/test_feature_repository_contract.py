"""Do the fake repository and Feast's agree on what is defined, applied and forgotten?"""

import json
from pathlib import Path
from typing import Any, Protocol

import pytest

from recsys.adapters.feast_features import DeclaredFeatures, FeastFeatures
from recsys.adapters.feast_repository import FeastRepository
from recsys.errors import FeatureError
from recsys.ports import FeatureRepository
from tests.fakes.feature_repository import FakeFeatureRepository

FEATURE_STORE = """
project: contract
provider: local
registry: {path: registry.db, cache_ttl_seconds: 60}
offline_store: {type: recsys.adapters.asof_offline_store.AsofOfflineStore, threads: 2}
online_store: {type: recsys.adapters.packed_online_store.PackedSqliteOnlineStore, path: online.db}
batch_engine: {type: recsys.adapters.arrow_batch_engine.ArrowBatchEngine}
materialization: {pull_latest_features: true}
entity_key_serialization_version: 3
"""

DEFINITIONS = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, UnixTimestamp

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
source = FileSource(name="weekly", path="data/weekly", timestamp_field="event_timestamp")
weekly = FeatureView(
    name="weekly", entities=[user], ttl=timedelta(days=7), schema=[Field(name="baskets", dtype=Float64)], source=source
)
request = RequestSource(name="request", schema=[Field(name="request_timestamp", dtype=UnixTimestamp)])


@on_demand_feature_view(
    sources=[weekly, request], schema=[Field(name="double", dtype=Float64)], mode="python", description="twice"
)
def twice(inputs):
    return {"double": inputs["baskets"]}


flat = FeatureService(name="flat", features=[weekly[["baskets"]], twice])
"""

EXPECTED: dict[str, Any] = {
    "feature_views": {
        "weekly": {
            "join_keys": ["user_id"],
            "features": {"baskets": "Float64"},
            "ttl": "1w",
            "online": True,
            "source": {
                "name": "weekly",
                "type": "BATCH_FILE",
                "timestampField": "event_timestamp",
                "fileOptions": {"uri": "data/weekly"},
            },
            "description": "",
            "owner": "",
            "tags": {},
        }
    },
    "request_transforms": {
        "twice": {
            "code": "def twice(inputs):\n    return {'double': inputs['baskets']}",
            "reads": ["weekly"],
            "requests": ["request_timestamp"],
            "features": {"double": "Float64"},
            "description": "twice",
            "owner": "",
            "tags": {},
        }
    },
    "feature_services": {
        "flat": {"references": ["weekly:baskets", "twice:double"], "description": "", "owner": "", "tags": {}}
    },
}


class Edited(Protocol):
    """A repository and the edit of its files."""

    repository: FeatureRepository

    def edit(self) -> None:
        """Remove the service, and rename what the request transform says of itself."""


class InMemory:
    def __init__(self) -> None:
        """Begin with the expected definitions as files."""
        self.repository = FakeFeatureRepository(json.loads(json.dumps(EXPECTED)))

    def edit(self) -> None:
        del self.repository.files["feature_services"]["flat"]
        self.repository.files["request_transforms"]["twice"]["description"] = "two times"


class OnDisk:
    def __init__(self, folder: Path) -> None:
        """Write the definitions into a folder."""
        (folder / "feature_store.yaml").write_text(FEATURE_STORE)
        self.definitions = folder / "definitions.py"
        self.definitions.write_text(DEFINITIONS)
        self.repository = FeastRepository(
            folder,
            "feature_store.yaml",
            files=lambda: DeclaredFeatures(folder, "feature_store.yaml").store,
            registry=lambda: FeastFeatures(folder, "feature_store.yaml").store,
        )

    def edit(self) -> None:
        text = self.definitions.read_text().partition("\nflat = ")[0]
        self.definitions.write_text(text.replace('"twice"', '"two times"'))


@pytest.fixture(params=["fake", "feast"])
def edited(request: pytest.FixtureRequest, tmp_path: Path) -> Edited:
    return InMemory() if request.param == "fake" else OnDisk(tmp_path)


def test_what_the_files_define_is_what_an_apply_registers(edited: Edited) -> None:
    repository = edited.repository
    assert repository.declared() == EXPECTED
    assert not any(repository.registered().values())
    repository.apply()
    assert repository.registered() == EXPECTED

    edited.edit()
    declared = repository.declared()
    assert declared["feature_services"] == {}
    assert declared["request_transforms"]["twice"]["description"] == "two times"
    assert repository.registered() == EXPECTED
    repository.apply()
    assert repository.registered() == declared


def test_feast_that_fails_says_its_last_line(tmp_path: Path) -> None:
    on_disk = OnDisk(tmp_path)
    on_disk.definitions.write_text("raise ValueError('no such season')")
    with pytest.raises(FeatureError, match=r"feast apply in .*: failed: ValueError: no such season; run it there"):
        on_disk.repository.apply()
