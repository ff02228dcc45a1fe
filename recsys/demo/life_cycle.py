"""What does the whole life cycle look like on real data? `recsys demo`: every stage, by the workflow its command calls.

Each step prints the command that does it alone. What is up to date is reused, so that a second run changes nothing.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from recsys import printing
from recsys.demo.server import Server, served
from recsys.demo.stages import Stages
from recsys.errors import ExperimentError, RecsysError, StoreError
from recsys.specs.variables import without_password
from recsys.workflows.batches.serve_batch import serve_batch
from recsys.workflows.data.ingest import ingest
from recsys.workflows.decision import promote as promoting
from recsys.workflows.declarations.plan import apply
from recsys.workflows.experiments.evaluate import evaluate
from recsys.workflows.experiments.replay import replay
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.dataset import build_dataset
from recsys.workflows.modeling.train import Trained, train
from recsys.workflows.monitoring.skew import skew
from recsys.workflows.problem.funnel import funnel
from recsys.workflows.workspace import Workspace

EXPERIMENT: Final = "home_ranker"
PLACEMENT: Final = "home"
FIRST: Final = "basket/v1"
REFUSED: Final = "basket/flat"
CHALLENGER: Final = "basket/v2"
HOUSEHOLD: Final = "household_2375"


def demo(workspace: Workspace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Live through the shipped declarations on the shipped data.

    Args:
        workspace: the project, in an environment with a replay clock.
        say: prints a piece of text.

    Returns:
        The stages, with rows, seconds and result.
    """
    stages = Stages(say)
    start = workspace.catalog.experiment(EXPERIMENT).plan.start
    _data(workspace, stages, start)
    _features(workspace, stages)
    _models(workspace, stages, start)
    with stages.stage("Tomorrow's lists", f"recsys serve-batch {PLACEMENT} --date {start:%Y-%m-%d}") as entry:
        batch = serve_batch(workspace, PLACEMENT, start)
        say(printing.batch(batch, workspace))
        entry.update(rows=batch.rows, result=f"{batch.units:,} lists{_reused(batch.reused)}")
    with served(workspace, PLACEMENT, _somebody(workspace)) as server:
        _experiment(workspace, stages, server)
    say("\n" + stages.table())
    say("\nWritten:\n" + "\n".join(f"  {line}" for line in _written(workspace)))
    say("\nLook at it: `recsys serve`, then http://127.0.0.1:8000/ in a browser")
    return stages.done


def _data(workspace: Workspace, stages: Stages, until: datetime) -> None:
    """Bring the data in, and ask what is worth a model."""
    with stages.stage("Shop data", "recsys ingest") as entry:
        ingested = ingest(workspace)
        stages.say(printing.ingestion(ingested, workspace))
        lines = ingested.counts[0]
        entry.update(rows=lines.read - lines.dropped, result=f"{lines.dropped:,} dropped{_reused(ingested.reused)}")
    problem = workspace.catalog.placement(PLACEMENT).problem
    with stages.stage("The problem", f"recsys funnel {problem} --to {until:%Y-%m-%d}") as entry:
        found = funnel(workspace, problem, until=until)
        stages.say(printing.funnel(found, workspace.shown(found.page)))
        stage = found.advice.choice.stage
        entry.update(result=f"model {stage}" if stage else "no problem for a model")


def _features(workspace: Workspace, stages: Stages) -> None:
    """Build features, let Feast apply the definitions, and put the features online."""
    with stages.stage("Feature tables", "recsys features build   # its first half") as entry:
        tables = build_tables(workspace)
        stages.say(printing.feature_tables(tables, workspace))
        rows = sum(built.rows for built in tables)
        entry.update(rows=rows, result=f"{len(tables)} tables{_reused(all(built.reused for built in tables))}")
    command = f"(cd {workspace.environment.feature_repo} && {' '.join(_feast(workspace))}) && recsys apply"
    with stages.stage("Feast definitions", command) as entry:
        said = _feast_apply(workspace)
        stages.say("\n".join(f"  {line}" for line in said))
        done = apply(workspace)
        on_record = f"{len(done.plan.steps)} steps, as apply {done.transaction}" if done.transaction else "up to date"
        stages.say(f"  declarations on record: {on_record}")
        entry.update(result="applied")
    with stages.stage("Online store", "recsys features build   # its second half") as entry:
        online = materialize(workspace)
        stages.say(printing.online_store(online))
        entry.update(result=f"at {online.until:%Y-%m-%d}{_reused(online.reused)}")


def _feast(workspace: Workspace) -> list[str]:
    """Return the plain Feast command; of another configuration than Feast's own it has to be told."""
    configuration = workspace.environment.feature_store
    named = [] if configuration == "feature_store.yaml" else ["--feature-store-yaml", configuration]
    return ["feast", *named, "apply"]


def _feast_apply(workspace: Workspace) -> list[str]:
    """Run the plain Feast command; returns the lines that say what it changed."""
    program, *arguments = _feast(workspace)
    state = os.path.relpath(workspace.state, workspace.feature_repository)
    applied = subprocess.run(  # noqa: S603 - the Feast of this environment
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=workspace.feature_repository,
        env=os.environ | {"RECSYS_STATE": state},
        capture_output=True,
        text=True,
        check=False,
    )
    if applied.returncode:
        message = f"feast apply: exit code {applied.returncode}: {(applied.stderr or applied.stdout).strip()[-2000:]}"
        raise StoreError(message)
    verbs = ("Created", "Updated", "Deleted", "Deploying", "No changes")
    return [line for line in applied.stdout.splitlines() if line.startswith(verbs)]


def _models(workspace: Workspace, stages: Stages, known_at: datetime) -> None:
    for model_version, title in (
        (FIRST, "First model"),
        (REFUSED, "A model to refuse"),
        (CHALLENGER, "A better model"),
    ):
        if model_version == CHALLENGER:
            _training_set(workspace, stages, known_at)
        command = f"recsys train --model-version {model_version} --known-at {known_at:%Y-%m-%d}"
        with stages.stage(title, command) as entry, printing.Bar() as bar:
            done = train(workspace, model_version, known_at, bar.update)
            stages.say(printing.trained(done, workspace))
            entry.update(rows=done.report["train_rows"], result=_gate(done))
        if model_version == FIRST:
            with stages.stage("First champion", f"recsys promote --model-version {FIRST}") as entry:
                entry.update(result=_first_champion(workspace, stages.say))


def _training_set(workspace: Workspace, stages: Stages, known_at: datetime) -> None:
    """Build what the challenger learns from by itself, so that it can be looked at."""
    command = f"recsys dataset build --model-version {CHALLENGER} --known-at {known_at:%Y-%m-%d}"
    with stages.stage("What a model learns from", command) as entry, printing.Bar() as bar:
        built = build_dataset(workspace, CHALLENGER, known_at, bar.update)
        stages.say(printing.dataset(built, workspace))
        rows = sum(built.dataset.document["rows"].values())
        entry.update(rows=rows, result=f"no leak found{_reused(built.reused)}")


def _first_champion(workspace: Workspace, say: Callable[[str], None]) -> str:
    past = [entry for entry in promoting.history(workspace, FIRST.partition("/")[0]) if entry.action == "promote"]
    if past:
        say(f"  done at {past[0].event_timestamp:%Y-%m-%d}: {past[0].payload['model_version']} was the first champion")
        return f"{past[0].payload['model_version']}{_reused(reused=True)}"
    done = promoting.promote_first(workspace, FIRST)
    say(printing.promotion(done))
    return f"champion {FIRST}"


def _experiment(workspace: Workspace, stages: Stages, server: Server) -> None:
    with (
        stages.stage("Four weeks of A/B test, replayed", f"recsys replay {EXPERIMENT}") as entry,
        printing.Bar() as bar,
    ):
        replayed = replay(workspace, EXPERIMENT, bar.update)
        stages.say(printing.replayed(replayed))
        entry.update(
            rows=replayed.exposures,
            result=f"{replayed.steps} weeks, {replayed.fallbacks} fallbacks{_reused(replayed.reused)}",
        )
    with stages.stage("Evaluation", f"recsys evaluate {EXPERIMENT}") as entry:
        evaluated = evaluate(workspace, EXPERIMENT)
        stages.say(printing.evaluation(evaluated, workspace.shown(evaluated.report.page)))
        entry.update(result=f"verdict {evaluated.verdict['name']}{_reused(evaluated.reused)}")
    with stages.stage("Features as they were served", f"recsys skew {EXPERIMENT}") as entry:
        entry.update(result=_skewed(workspace, stages.say))
    with stages.stage("Online store, after the experiment", "recsys features build") as entry:
        online = materialize(workspace)
        entry.update(result=f"at {online.until:%Y-%m-%d}{_reused(online.reused)}")
    with stages.stage("Decision", f"recsys promote {EXPERIMENT}") as entry:
        server.wait_until_ready()
        before = server.list()
        stages.say(f"  before: {_answer(before)}")
        try:
            promoted = promoting.promote_experiment(workspace, EXPERIMENT)
        except RecsysError as error:
            stages.say(f"  refused: {error}")
            entry.update(result=f"refused, {before['model_version']} goes on serving")
            return
        stages.say(printing.promotion(promoted))
        expected = promoted.after.model_version if promoted.after else None
        after, seconds = server.follow(expected)
        stages.say(f"  after:  {_answer(after)}, {seconds:.1f} s later, without a restart")
        entry.update(result=f"{after['model_version']} serves{_reused(not promoted.changed)}")


def _skewed(workspace: Workspace, say: Callable[[str], None]) -> str:
    """Compare what lists were made with to the feature tables; a small shop may have logged no features at all."""
    try:
        done = skew(workspace, EXPERIMENT)
    except ExperimentError as error:
        say(f"  {error}")
        return "no features logged"
    say(printing.skew(done))
    return f"{done.skew.skewed_rows:,} of {done.skew.rows:,} rows differ"


def _somebody(workspace: Workspace) -> str:
    """Return a household of the shipped data, or the first user of another shop."""
    users = workspace.tables / "users.parquet"
    sql = f"select coalesce(max(user_id) filter (where user_id = '{HOUSEHOLD}'), min(user_id)) as unit from users"
    return str(workspace.engine.query(sql, {"users": users})["unit"][0].as_py())


def _answer(answer: dict[str, Any]) -> str:
    items = ", ".join(item["item_id"] for item in answer["items"][:3])
    return f"{answer['user_id']} gets {items}, … from {answer['model_version'] or answer['fallback']}"


def _gate(done: Trained) -> str:
    gate = done.report["gate"]
    ratio = gate["ratio"]
    verdict = "passed" if gate["passed"] else "REFUSED"
    return (
        f"gate {verdict}: ratio {ratio['estimate']:.2f} [{ratio['lower']:.2f},"
        f" {ratio['upper']:.2f}]{_reused(done.reused)}"
    )


def _reused(reused: bool) -> str:
    return " (up to date)" if reused else ""


def _written(workspace: Workspace) -> list[str]:
    shown = workspace.shown
    state = workspace.state
    return [
        f"{shown(workspace.tables)}/  events, items, users",
        f"{shown(workspace.feature_tables)}/  feature tables",
        f"{shown(state / 'batch')}/  lists as parquet",
        f"{_place(workspace, 'event_log')}  exposures, outcomes, ledger",
        f"{_place(workspace, 'mlflow_uri')}  registry; look at it with: mlflow ui, or make ui",
    ]


def _place(workspace: Workspace, field: Literal["mlflow_uri", "event_log"]) -> str:
    """Return a store as people read it: the file, or the address without its password."""
    address = workspace.environment.address(field, workspace.environment_name, workspace.state)
    kind, found, file = address.partition(":///")
    return workspace.shown(Path(file)) if found and kind == "sqlite" else without_password(address)
