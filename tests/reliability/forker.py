"""Runs commands in children of a warmed process, and kills them: `python -m tests.reliability.forker`.

All heavy imports are done once, here, where no thread and no connection is there yet; each command is a fork. A request
is a JSON line on stdin, its outcome a JSON line on stdout; several requests may be under way.
"""

import gc
import importlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.reliability import commands

WARM = (
    "alembic.command",
    "alembic.config",
    "catboost",
    "duckdb",
    "feast",
    "feast.file_utils",
    "feast.infra.passthrough_provider",
    "feast.names",
    "feast.repo_operations",
    "ibis",
    "ibis.backends.duckdb",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "mlflow",
    "mlflow.artifacts",
    "mlflow.catboost",
    "mlflow.pyfunc",
    "mlflow.store.artifact.local_artifact_repo",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "pyarrow.parquet",
    "recsys.adapters.arrow_batch_engine",
    "recsys.adapters.asof_offline_store",
    "recsys.adapters.atomic_registry_store",
    "recsys.adapters.catboost_ranker",
    "recsys.adapters.clocks",
    "recsys.adapters.completejourney",
    "recsys.adapters.declared_logic",
    "recsys.adapters.duckdb_engine",
    "recsys.adapters.feast_features",
    "recsys.adapters.feast_repository",
    "recsys.adapters.feature_pyfunc",
    "recsys.adapters.mlflow_registry",
    "recsys.adapters.packed_online_store",
    "recsys.adapters.sql_event_log",
    "recsys.wiring",
    "recsys.workflows.experiments.evaluate",
    "recsys.workflows.features.build",
    "recsys.workflows.data.ingest",
    "recsys.workflows.declarations.plan",
    "recsys.workflows.decision.promote",
    "recsys.workflows.experiments.replay",
    "recsys.workflows.batches.serve_batch",
    "recsys.workflows.modeling.train",
    "tests.reliability.sights",
)

POLL_SECONDS = 0.002


@dataclass
class Child:
    """One command under way, or ended."""

    request: dict[str, Any]
    files: Path
    """Where it leaves what it has to say: beside each other, by suffix."""
    pid: int = 0
    begun: float = field(default_factory=time.monotonic)
    answer: dict[str, Any] | None = None

    def start(self) -> "Child":
        """Fork it."""
        self.pid = os.fork()
        if self.pid == 0:
            self._live()
        return self

    def watch(self) -> None:
        """Note its end, or kill it if its time has come."""
        if self.answer is not None:
            return
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        elapsed = time.monotonic() - self.begun
        kill_after = self.request.get("kill_after")
        if ended:
            self.answer = self._outcome(status, elapsed)
        elif kill_after is not None and elapsed >= kill_after:
            os.kill(self.pid, signal.SIGKILL)
            self.request["kill_after"] = None

    def _live(self) -> NoReturn:
        """Run the request and leave: 0 done, 1 refused or failed, with the reason in a file."""
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(self.files.with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = 0
        try:
            if self.request.get("die_at") is not None:
                commands.die_at(*self.request["die_at"])
            said = commands.run(Path(self.request["project"]), self.request["command"])
            self.files.with_suffix(".said").write_text(json.dumps(said), encoding="utf-8")
        except BaseException as error:  # noqa: BLE001 - reported to the test
            self.files.with_suffix(".error").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            code = 1
        os._exit(code)

    def _outcome(self, status: int, seconds: float) -> dict[str, Any]:
        """Say how it ended."""
        left = {}
        for name in ("stderr", "said", "error"):
            path = self.files.with_suffix(f".{name}")
            left[name] = path.read_text(encoding="utf-8") if path.exists() else ""
            path.unlink(missing_ok=True)
        return {
            "killed": os.WIFSIGNALED(status),
            "code": os.waitstatus_to_exitcode(status),
            "seconds": seconds,
            "stderr": left["stderr"],
            "said": json.loads(left["said"] or "null"),
            "error": left["error"],
        }


def serve(scratch: Path) -> None:
    """Answer requests until stdin ends: {number, together: [{project, command, kill_after, die_at}, …]}."""
    under_way: dict[int, list[Child]] = {}
    unread = b""
    asked = True
    while asked or under_way:
        ready, _, _ = select.select([0] if asked else [], [], [], POLL_SECONDS if under_way else None)
        if ready:
            read = os.read(0, 1 << 16)
            asked = bool(read)
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                group = json.loads(line)
                number = group["number"]
                files = (scratch / f"{number}-{place}.child" for place in range(len(group["together"])))
                pairs = zip(group["together"], files, strict=True)
                under_way[number] = [Child(request, path).start() for request, path in pairs]
        for number, children in list(under_way.items()):
            for child in children:
                child.watch()
            if all(child.answer is not None for child in children):
                answers = [child.answer for child in children]
                sys.stdout.write(json.dumps({"number": number, "answers": answers}) + "\n")
                sys.stdout.flush()
                del under_way[number]


def warm() -> None:
    """Do once what every command would do again, as far as it leaves neither a thread nor a connection."""
    for module in WARM:
        importlib.import_module(module)
    from mlflow.utils.requirements_utils import _init_modules_to_packages_map

    _init_modules_to_packages_map()  # reads the metadata of every installed package
    gc.collect()
    gc.freeze()  # no child's collector touches, and so copies, what all of them share


if __name__ == "__main__":
    warm()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve(Path(sys.argv[1]))
