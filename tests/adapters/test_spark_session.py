"""Is a Spark that cannot be used one line, and does a doctor see its workers?"""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from recsys.adapters import spark_session
from recsys.adapters.spark_engine import SparkEngine, checks, spark_findings
from recsys.errors import StoreError
from recsys.ports import Step
from tests.adapters.feature_histories import START, TABLES, TRANSFORMS, WEEK, long_history, write_sources
from tests.fakes.engine import FakeEngine


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    said = r"^engine spark: pyspark is not installed; install the extra: pip install 'recsys\[spark\]'"
    with pytest.raises(StoreError, match=said):
        spark_session.open_session({})
    engine, sources = SparkEngine(FakeEngine(), {}), write_sources(tmp_path, long_history(2, 9))
    with pytest.raises(StoreError, match=said):
        engine.transform(TRANSFORMS, TABLES["user_item"], Step(None, START + WEEK), sources, tmp_path, tmp_path / "out")
    (finding,) = spark_findings({})
    assert (finding.status, finding.name) == ("failed", "engine: spark")


def test_without_java_the_extra_and_java_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StoreError, match=r"no Java here, which the extra recsys\[spark\] runs on; install Java 17"):
        spark_session._require_java()


@pytest.mark.spark
def test_a_doctor_asks_a_worker(spark: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    session, workers = spark_findings(spark)
    assert (session.status, workers.status) == ("ok", "ok")
    assert "on local[2]" in session.found
    monkeypatch.setattr(checks, "here", lambda: {"python": "3.99", "recsys": "9"})
    assert [finding.status for finding in spark_findings(spark)] == ["ok", "failed"]
