"""What does a doctor say of Spark: there and counting, without Java, or with a master that is not there?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.adapters.spark_engine import spark_findings

ROOT = Path(__file__).parents[2]


def in_own_process(settings: str, **variables: str) -> str:
    """Ask in a process that has no session yet; return what was found, a line each."""
    script = (
        "from recsys.adapters.spark_engine import spark_findings\n"
        f"for each in spark_findings({settings}): print(each.status, each.name, '|', each.found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    (said,) = spark_findings({"spark.master": "local[1]"})
    assert said.status == "failed"
    assert "recsys[spark]" in said.found


def test_workers_count_and_a_machine_without_java_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    lines = in_own_process("{'spark.master': 'local[1]'}").splitlines()
    assert [line.partition(" |")[0] for line in lines] == ["ok engine: spark", "ok engine: spark's workers"]
    assert "master local[1]" in lines[0]
    (line,) = in_own_process("{'spark.master': 'local[1]'}", PATH=str(tmp_path), JAVA_HOME="").splitlines()
    assert line.startswith("failed engine: spark | engine spark: no Java here")
