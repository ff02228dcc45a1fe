"""Runs commands in children of a warmed process, and kills them: `python -m tests.reliability.forker`.

All heavy imports are done once, here, where no thread and no connection is there yet; each command is a fork. A request
is a JSON line on stdin, its outcome a JSON line on stdout.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

WARM = (
    "alembic.command",
    "alembic.config",
    "catboost",
    "duckdb",
    "feast",
    "feast.file_utils",
    "feast.names",
    "feast.repo_operations",
    "ibis",
    "mlflow",
    "mlflow.artifacts",
    "mlflow.catboost",
    "mlflow.pyfunc",
    "mlflow.store.artifact.local_artifact_repo",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pyarrow.parquet",
    "recsys.adapters.arrow_batch_engine",
    "recsys.adapters.asof_offline_store",
    "recsys.adapters.atomic_registry_store",
    "recsys.adapters.catboost_ranker",
    "recsys.adapters.completejourney",
    "recsys.adapters.duckdb_engine",
    "recsys.adapters.feast_features",
    "recsys.adapters.feature_pyfunc",
    "recsys.adapters.mlflow_registry",
    "recsys.adapters.packed_online_store",
    "recsys.adapters.sql_event_log",
    "recsys.wiring",
    "recsys.workflows.evaluate",
    "recsys.workflows.features",
    "recsys.workflows.ingest",
    "recsys.workflows.promote",
    "recsys.workflows.replay",
    "recsys.workflows.serve_batch",
    "recsys.workflows.train",
)


def run(project: Path, command: list[str]) -> None:
    """Run one command on a project."""
    from recsys.wiring import open_workspace
    from recsys.workflows import features, ingest, promote, replay, serve_batch, train

    workspace = open_workspace("local", project)
    name, *arguments = command
    match name:
        case "ingest":
            ingest.ingest(workspace)
        case "features":
            features.build_tables(workspace)
            features.materialize(workspace)
        case "train":
            train.train(workspace, *arguments)
        case "first-champion":
            promote.promote_first(workspace, *arguments)
        case "promote":
            promote.promote_experiment(workspace, *arguments)
        case "apply":
            apply(project)
        case "replay":
            replay.replay(workspace, *arguments)
        case "serve-batch":
            serve_batch.serve_batch(workspace, *arguments)
        case _:
            message = f"no such command: {name}"
            raise ValueError(message)


def apply(project: Path) -> None:
    """Do what `feast apply` does."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    repository = project / "feature_repo"
    os.chdir(repository)
    sys.path.insert(0, str(repository))
    apply_total(
        load_repo_config(repository, repository / "feature_store.yaml"), repository, skip_source_validation=True
    )


def die_at(step: str, number: int, when: str) -> None:
    """Let this process kill itself before or after the n-th time, from 0, that it takes a step others can see."""
    from recsys.adapters.mlflow_registry import MlflowRegistry, recording
    from recsys.adapters.packed_online_store import PackedSqliteOnlineStore
    from recsys.adapters.sql_event_log import SqlEventLog, SqlLedger

    owner = {
        "append": SqlLedger,
        "set_alias": MlflowRegistry,
        "record_run": recording,
        "record_model": recording,
        "record_version": recording,
        "write_arrow": PackedSqliteOnlineStore,
        "write_exposures": SqlEventLog,
        "write_outcomes": SqlEventLog,
        "rename": Path,
    }[step]
    taken = getattr(owner, step)
    seen = 0

    def watched(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        mine = seen == number
        seen += 1
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = taken(*arguments, **options)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, step, watched)


def child(request: dict[str, Any], errors: Path) -> NoReturn:
    """Run a request and leave: 0 done, 1 refused or failed, with the reason in a file."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    said = os.open(errors.with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    code = 0
    try:
        if request.get("die_at") is not None:
            die_at(*request["die_at"])
        run(Path(request["project"]), request["command"])
    except BaseException as error:  # noqa: BLE001 - reported to the test
        errors.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        code = 1
    os._exit(code)


def start(request: dict[str, Any], errors: Path) -> int:
    """Fork a child for a request and return its process id."""
    errors.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        child(request, errors)
    return pid


def outcome(status: int, seconds: float, errors: Path) -> dict[str, Any]:
    """Say how a child ended."""
    said = errors.with_suffix(".stderr")
    return {
        "killed": os.WIFSIGNALED(status),
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "error": errors.read_text(encoding="utf-8") if errors.exists() else "",
        "stderr": said.read_text(encoding="utf-8") if said.exists() else "",
    }


def serve(scratch: Path) -> None:
    """Answer requests until stdin ends: {together: [{project, command, kill_after, die_at}, …]}."""
    for line in sys.stdin:
        requests = json.loads(line)["together"]
        begun = time.monotonic()
        running: dict[int, int] = {}
        for number, request in enumerate(requests):
            running[start(request, scratch / f"{number}.error")] = number
        answers: list[dict[str, Any]] = [{}] * len(requests)
        pending = {pid: requests[number].get("kill_after") for pid, number in running.items()}
        while pending:
            for pid, kill_after in list(pending.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                elapsed = time.monotonic() - begun
                if ended:
                    number = running[pid]
                    answers[number] = outcome(status, elapsed, scratch / f"{number}.error")
                    del pending[pid]
                elif kill_after is not None and elapsed >= kill_after:
                    os.kill(pid, signal.SIGKILL)
                    pending[pid] = None
            time.sleep(0.001)
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    for module in WARM:
        importlib.import_module(module)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve(Path(sys.argv[1]))
