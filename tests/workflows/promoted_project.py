"""What is a project in memory whose experiment has ended, so that its verdict may be promoted?"""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys.errors import DecisionError
from recsys.planning.lifecycle import FREEZE
from recsys.ports import Registration, Weights
from recsys.workflows.decision import promote
from recsys.workflows.experiments.analysis import experiment_digest
from tests.decision.reports import frozen_report, sealed
from tests.fakes.ranker import FakeRanker
from tests.fakes.registry import FakeRegistry
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.small_project import BEFORE, START, SmallProject

END = START + timedelta(weeks=4)
NAME = "home_ranker"
GUARDRAILS = [{"name": "mrr@10", "margin": 0.05}]


class PromotedProject(SmallProject):
    """A project with champion v1, v2 in service, and an experiment on both that was applied before its start."""

    def serve(self, version: str, gate: str = "passed", **tags: str) -> Weights:
        """Register weights of a logic and let its alias name them."""
        every = {"recsys.gate": gate, "recsys.logic_digest": f"logic of {version}", "recsys.data_digest": "data"} | tags
        registration = Registration(version, FakeRanker(), every, {}, {}, {}, pa.table({}))
        weights = self.registry_kept.register(registration)
        self.registry_kept.set_alias(weights, f"logic-{weights.version}")
        return weights

    @contextmanager
    def registry_hidden(self) -> Generator[None]:
        """Let the registry be empty for a while: a plan would compare the logic of what is trained with the files."""
        kept, self.registry_kept = self.registry_kept, FakeRegistry()
        yield
        self.registry_kept = kept

    def freeze(self, weights: Weights, **options: Any) -> dict[str, Any]:
        """Freeze a report about the experiment as it is declared now."""
        catalog = self.open().catalog
        experiment = catalog.experiment(NAME)
        document = frozen_report(NAME, experiment, experiment_digest(experiment, catalog.metrics), weights, **options)
        self.append(document)
        return document

    def append(self, document: dict[str, Any]) -> None:
        """Put a frozen report on record; the last one counts."""
        number = str(len(self.ledger_kept.entries()))
        self.ledger_kept.append(
            transaction=number, state="done", action=FREEZE, subject=NAME, payload=document, author="ada", at=END
        )

    def alter(self, change: Callable[[dict[str, Any]], None], *, seal: bool = True) -> None:
        """Let the frozen report be another one."""
        document = copy.deepcopy(dict(self.ledger_kept.entries(NAME)[-1].payload))
        change(document)
        self.append(sealed(document) if seal else document)

    def promote(self, override: str | None = None) -> promote.Promotion:
        """Do what the command does."""
        return promote.promote_experiment(self.open(), NAME, override)

    def refused(self) -> list[str]:
        """Return the lines of a refusal; nothing was moved or recorded."""
        before = self.ledger_kept.entries()
        with pytest.raises(DecisionError) as refusal:
            self.promote()
        assert self.ledger_kept.entries() == before
        assert self.champion == 1
        return str(refusal.value).splitlines()

    @property
    def champion(self) -> int | None:
        """Return the number of the champion's weights."""
        weights = self.registry_kept.resolve("basket", "champion")
        return None if weights is None else weights.number


def made(tmp_path: Path, *, apply_at: timedelta | None = BEFORE - START) -> PromotedProject:
    """Return a project whose experiment was applied at a time after its start, or never, and has ended."""
    project = PromotedProject(tmp_path)
    project.change(EXPERIMENT, "metrics.guardrails", copy.deepcopy(GUARDRAILS))
    project.change("environments/local.yaml", "clock", {"replay_from": "2017-12-01"})
    project.serve("basket/v1")
    promote.promote_first(project.open(), "basket/v1")
    if apply_at is not None:
        project.come_to(START + apply_at)
        with project.registry_hidden():
            project.apply()
    project.come_to(END)
    return project
