"""Which commands can be run and killed, and between which of their steps?"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recsys.wiring import open_workspace
from recsys.workflows.batches import serve_batch
from recsys.workflows.data import ingest
from recsys.workflows.decision import promote
from recsys.workflows.declarations import plan
from recsys.workflows.experiments import replay
from recsys.workflows.features import build as features
from recsys.workflows.modeling import train
from recsys.workflows.workspace import Workspace
from tests.reliability import sights


def run(project: Path, command: list[Any]) -> Any:
    """Run one command on a project; `look` returns what it saw, as JSON values."""
    name, *arguments = command
    workspace = open_workspace("local", project)
    if name == "look":
        sight, *rest = arguments
        return getattr(sights, sight)(workspace, *rest)
    COMMANDS[name](workspace, *arguments)
    return None


def build(workspace: Workspace) -> None:
    """Do what `recsys features build` does."""
    features.build_tables(workspace)
    features.materialize(workspace)


def resume_batch(workspace: Workspace, placement: str, units_a_part: int) -> None:
    """Do what `recsys serve-batch PLACEMENT --resume` does, in smaller parts."""
    serve_batch.serve_batch(workspace, placement, resume=True, units_a_part=units_a_part)


def feast_apply(workspace: Workspace) -> None:
    """Do what `feast apply` does."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    repository = workspace.feature_repository
    os.chdir(repository)
    sys.path.insert(0, str(repository))
    apply_total(
        load_repo_config(repository, repository / "feature_store.yaml"), repository, skip_source_validation=True
    )


COMMANDS: Mapping[str, Callable[..., object]] = {
    "ingest": ingest.ingest,
    "features": build,
    "train": train.train,
    "first-champion": promote.promote_first,
    "promote": promote.promote_experiment,
    "feast-apply": feast_apply,
    "apply": plan.apply,
    "replay": replay.replay,
    "serve-batch": serve_batch.serve_batch,
    "resume-batch": resume_batch,
}


def die_at(step: str, number: int, when: str) -> None:
    """Let this process kill itself before or after the n-th time, from 0, that it takes a step others can see."""
    owner = _steps()[step]
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


def _steps() -> Mapping[str, Any]:
    """Return who takes each step."""
    from recsys.adapters.duckdb_engine import DuckDBEngine
    from recsys.adapters.mlflow_registry import MlflowRegistry, recording
    from recsys.adapters.packed_online_store import PackedSqliteOnlineStore
    from recsys.adapters.sql_event_log import SqlEventLog, SqlLedger

    return {
        "append": SqlLedger,
        "set_alias": MlflowRegistry,
        "record_run": recording,
        "record_model": recording,
        "record_version": recording,
        "write_arrow": PackedSqliteOnlineStore,
        "update": PackedSqliteOnlineStore,
        "write_exposures": SqlEventLog,
        "write_outcomes": SqlEventLog,
        "transform": DuckDBEngine,
        "fsync": os,
        "rename": Path,
        "replace": Path,
    }
