"""Does a `recsys apply` killed at any moment leave all of its plan applied or nothing, by the ledger and by Feast?"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.conftest import Forker, Shop
from tests.reliability.ordeal import half_written, ordeal

STEPS = [
    "feature_views/user_recent",
    "feature_views/user_weekly",
    "feature_services/basket_frequency",
    "feature_services/basket_recent",
    "placements/cellar",
    "models/basket/spare",
    "feast/registry",
]
"""What the edits below come to."""

VIEW = """

user_recent = FeatureView(
    name="user_recent",
    entities=[user],
    ttl=WEEKLY,
    schema=number_fields("user_baskets_28d"),
    source=_source("user_weekly"),
    description="How a household shops, over 4 weeks",
)
"""
SERVICE = """

basket_recent = FeatureService(name="basket_recent", features=[user_recent])
"""


@pytest.fixture(scope="module")
def edited(first: Shop, forker: Forker) -> Shop:
    """The first shop, applied, and then edited: a view and a service more, and words that changed."""
    project = first.copy("edited")
    assert forker.run(project, "apply")["error"] == ""
    repository = project / "feature_repo"
    replace(
        repository / "views.py", "How a household shops, over 4 and 13 weeks", "How a household has shopped of late"
    )
    replace(repository / "services.py", "How often a household has bought a product", "How often it was bought")
    replace(
        repository / "services.py",
        "    user_profile,\n    user_weekly,\n)",
        "    user_profile,\n    user_recent,\n    user_weekly,\n)",
    )
    for name, added in {"views.py": VIEW, "services.py": SERVICE}.items():
        (repository / name).write_text((repository / name).read_text() + added)
    for old, new in {"placements/home": "placements/cellar", "models/basket/v2": "models/basket/spare"}.items():
        shutil.copy(project / f"registry/{old}.yaml", project / f"registry/{new}.yaml")
    return Shop(project, first.scratch)


def replace(path: Path, before: str, after: str) -> None:
    """Change a line of a Python file."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def states(forker: Forker, edited: Shop) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an undisturbed apply changes: before and after."""
    project = edited.copy("undisturbed")
    before = forker.look(project, "applied")
    assert before["steps"] == STEPS
    assert forker.run(project, "apply")["error"] == ""
    after = forker.look(project, "applied")
    assert before["ledger"] != after["ledger"]
    assert before["feast"] != after["feast"]
    return before, after


class Apply:
    """The checks."""

    def __init__(self, forker: Forker, states: tuple[dict[str, Any], dict[str, Any]]) -> None:
        """Compare with these states."""
        self._forker = forker
        self._before, self._after = states

    def whole(self, project: Path) -> None:
        """The ledger says all or nothing, and all only once Feast has been told; whoever reads features still can."""
        found = self._forker.look(project, "applied")
        known = {self._before["feast"]: "before", self._after["feast"]: "after"}[found["feast"]]
        if found["ledger"] == self._after["ledger"]:
            assert (known, found["open"], found["steps"]) == ("after", [], [])
        else:
            assert found["ledger"] == self._before["ledger"]
            assert found["subjects"] == self._before["subjects"]
            assert found["steps"] == (STEPS if known == "before" else STEPS[:-1])
        assert found["answers"] == self._before["answers"]

    def completed(self, project: Path) -> None:
        """All of the plan was applied once, and every transaction that was begun has its end."""
        found = self._forker.look(project, "applied")
        assert (found["ledger"], found["feast"]) == (self._after["ledger"], self._after["feast"])
        assert (found["open"], found["steps"]) == ([], [])
        assert found["ends"].count("done") == self._after["ends"].count("done")
        new = set(found["subjects"]) - {"feast/registry"}
        assert new == set(self._after["subjects"]) - {"feast/registry"}


@pytest.fixture
def apply(forker: Forker, states: tuple[dict[str, Any], dict[str, Any]]) -> Apply:
    return Apply(forker, states)


def test_apply(forker: Forker, edited: Shop, apply: Apply) -> None:
    ordeal(forker, edited, ("apply",), apply.whole, apply.completed)


@pytest.mark.parametrize(
    "step",
    [
        ("append", 0, "after"),
        ("append", len(STEPS) - 1, "after"),
        ("update", 0, "after"),
        ("fsync", 0, "after"),
        ("append", len(STEPS), "before"),
        ("append", len(STEPS), "after"),
    ],
)
def test_an_apply_killed_between_two_steps(
    forker: Forker, edited: Shop, apply: Apply, step: tuple[str, int, str]
) -> None:
    project = edited.copy("apply-step")
    assert forker.run(project, "apply", die_at=step)["killed"]
    apply.whole(project)
    assert forker.run(project, "apply")["error"] == ""
    apply.completed(project)
    assert half_written(project) == []


def test_two_applies_make_one_transaction(forker: Forker, edited: Shop, apply: Apply) -> None:
    project = edited.copy("race-apply")
    request = {"project": str(project), "command": ["apply"]}
    assert [answer["error"] for answer in forker.together(request, request)] == ["", ""]
    apply.completed(project)
