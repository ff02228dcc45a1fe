"""Does a page cost little while nothing changes, and is it never of before when something has?"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from recsys.errors import StoreError
from recsys.ports import Registration
from recsys.workflows.console import memory
from tests.adapters.test_event_log_contract import exposure
from tests.fakes.ranker import FakeRanker
from tests.serving.test_resolver import experiment, world
from tests.specs.registry_files import PROBLEM
from tests.web.console_site import PAGES, OneRequest, application, funnel_document, project
from tests.workflows.promoted_project import END, PromotedProject

LOOKED_AT = ("overview", "problem", "model", "experiment", "placement", "ask")


class Counted(PromotedProject):
    """A project that counts what its stores are asked for."""

    asked: Counter[str]

    def count(self) -> None:
        """Count from now on."""
        self.asked = Counter()
        for store, names in ((self.registry_kept, ("search", "aliases", "report")), (self.ledger_kept, ("entries",))):
            for name in names:
                setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            self.asked[name] += 1
            return ask(*arguments)

        return asked


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setattr(memory, "_RACY_SECONDS", 0.0)  # the files below were written just now
    found = project(tmp_path)
    found.__class__ = Counted
    assert isinstance(found, Counted)
    found.count()
    return found


@pytest.fixture
def client(shop: Counted) -> Iterator[TestClient]:
    with TestClient(application(OneRequest(shop.open()), world(routers=[experiment()]))) as made:
        yield made


def test_what_has_not_changed_is_not_asked_for_again(client: TestClient, shop: Counted) -> None:
    first = {name: client.get(PAGES[name]).text for name in LOOKED_AT}
    assert shop.asked["report"] == 1
    shop.asked.clear()
    assert {name: client.get(PAGES[name]).text for name in LOOKED_AT} == first
    assert shop.asked == Counter()


def test_a_registry_that_tells_no_change_is_asked_for_each_model_once_a_look(client: TestClient, shop: Counted) -> None:
    shop.registry_kept.stamp = lambda: None  # type: ignore[method-assign]
    client.get(PAGES["model"])
    shop.asked.clear()
    client.get(PAGES["model"])
    assert shop.asked == Counter(search=1, aliases=1)


def _promoted(shop: Counted) -> None:
    weights = shop.registry_kept.search("basket")[-1]
    shop.registry_kept.set_alias(weights, "champion")
    payload = {"aliases": {"champion": {"before": 1, "after": weights.number}}, "model_version": "basket/v2"}
    shop.ledger_kept.append(
        transaction="p", state="done", action="promote", subject="basket", payload=payload, author="eve", at=END
    )


def _retrained(shop: Counted) -> None:
    tags = {"recsys.gate": "failed", "recsys.data_digest": "fedcba98"}
    shop.registry_kept.register(Registration("basket/v2", FakeRanker(), tags, {}, {}, {}, pa.table({})))


def _declared(shop: Counted) -> None:
    shop.change(PROBLEM, "business_issue", "Something else")
    for path, text in shop.files.items():
        if path == PROBLEM:
            (shop.root / "registry" / path).write_text(json.dumps(text))


def _planned(shop: Counted) -> None:
    path = shop.root / ".recsys/reports/problems/weekly_basket.json"
    path.with_suffix(".new").write_text(json.dumps(funnel_document("an entirely new reason")))
    path.with_suffix(".new").replace(path)


def _judged(shop: Counted) -> None:
    shop.alter(lambda report: report["verdict"].update(reason="it was looked at again"), seal=False)


def _requested(shop: Counted) -> None:
    shop.log_kept.write_exposures([exposure("just-now", END, user_id="a new one")])


def _later(shop: Counted) -> None:
    shop.come_to(END + timedelta(days=2))


@pytest.mark.parametrize(
    ("page", "change", "words"),
    [
        ("overview", _promoted, "champion v2"),
        ("model", _promoted, "eve"),
        ("placement", _promoted, "basket/v2 (weights"),
        ("model", _retrained, "fedcba98"),
        ("overview", _declared, "Something else"),
        ("problem", _declared, "Something else"),
        ("problem", _planned, "an entirely new reason"),
        ("experiment", _judged, "it was looked at again"),
        ("ask", _requested, "just-now"),
        ("placement", _requested, "a new one"),
        ("overview", _later, f"{(END + timedelta(days=2)).date()}"),
    ],
)
def test_a_change_shows_at_the_next_look(
    client: TestClient, shop: Counted, page: str, change: Callable[[Counted], None], words: str
) -> None:
    def said() -> str:
        return " ".join(client.get(PAGES[page]).text.replace("<", " <").split())

    before = said()
    assert said() == before
    change(shop)
    after = said()
    plain = " ".join(part.rpartition(">")[2] for part in after.split("<"))
    assert words in " ".join(plain.split())
    assert after != before


def test_a_store_that_answers_again_is_asked_again(client: TestClient, shop: Counted) -> None:
    search = shop.registry_kept.search

    def down(_: str) -> Any:
        message = "MLflow: does not answer"
        raise StoreError(message)

    shop.registry_kept.search = down  # type: ignore[method-assign]
    assert "MLflow: does not answer" in client.get("/").text
    shop.registry_kept.search = search  # type: ignore[method-assign]
    assert "MLflow: does not answer" not in client.get("/").text


def test_a_picture_of_a_report_that_is_kept_asks_for_it_once(client: TestClient, shop: Counted) -> None:
    client.get(PAGES["model"])
    for _ in range(3):
        assert client.get("/charts/models/basket/v2/metrics.svg").status_code == 200
    assert shop.asked["report"] == 2


def test_nothing_is_kept_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "declared.yaml"
    path.write_text("one")
    assert memory.stamp_of([path]) is None, "its time may be that of another write"


def test_a_stamp_tells_replaced_changed_added_and_removed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_RACY_SECONDS", 0.0)
    one, two = tmp_path / "a.yaml", tmp_path / "b.yaml"
    stamps = [memory.stamp_of(tmp_path.glob("*"))]
    for change in (
        lambda: one.write_text("x"),
        lambda: two.write_text("y"),
        lambda: one.write_text("xy"),
        lambda: two.replace(one),
        one.unlink,
    ):
        change()
        stamps.append(memory.stamp_of(tmp_path.glob("*")))
        assert memory.stamp_of(tmp_path.glob("*")) == stamps[-1]
    assert all(before != after for before, after in itertools.pairwise(stamps))
    assert stamps[-1] == stamps[0]


def test_only_so_many_documents_are_kept() -> None:
    made: list[int] = []
    kept = memory.Memory(most=2)

    def get(key: int, stamp: object = "same") -> Any:
        return kept.get(key, stamp, lambda: made.append(key) or {"of": key})  # type: ignore[func-returns-value]

    assert get(1) is get(1)
    get(2)
    get(3)
    get(1)
    assert made == [1, 2, 3, 1]
    assert get(1, "another") is not get(1)
    assert get(1, None) is not get(1, None)
