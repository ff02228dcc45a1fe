"""Does `recsys funnel` read a shop as it is, a dirty log too, and say what was left out?"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recsys import cli, printing
from recsys.errors import DataError, SpecError
from recsys.reports.funnel import funnel_page
from recsys.specs.simulation import Simulation
from recsys.workflows.data.ingest import ingest
from recsys.workflows.data.simulate import simulate
from recsys.workflows.problem.funnel import PlannedFunnel, funnel
from tests.workflows.files_project import START, FilesProject, Row, event

NAMES = ("pageview", "click", "transfer", "purchase")
PROBLEM = {
    "business_issue": "Visitors leave without having found what they would buy",
    "owners": {"product": "growth", "engineering": "ml"},
    "target": {"event": "purchase", "horizon": "7d"},
    "funnel": {"stages": list(NAMES), "within": "session"},
    "formulation": "ranking",
    "channels": {"feed": {"k": 10}},
}


def declare(root: Path, **changes: Any) -> None:
    path = root / "registry" / "problems" / "feed.yaml"
    path.write_text(yaml.safe_dump(PROBLEM | changes), encoding="utf-8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> FilesProject:
    """Return a made-up shop, ingested, with a problem of its own."""
    project = FilesProject(tmp_path_factory.mktemp("shop"))
    project.declare(data={"source": "files", "path": "made"}, clock={"replay_from": "2024-04-01"})
    simulate(Simulation(users=400, days=91, exposures=False), project.root / "made")
    declare(project.root)
    ingest(project.open())
    return project


@pytest.fixture(scope="module")
def found(shop: FilesProject) -> PlannedFunnel:
    return funnel(shop.open(), "feed", by="age")


def test_a_made_up_shop_has_the_rates_that_were_put_into_it(shop: FilesProject, found: PlannedFunnel) -> None:
    rates = json.loads((shop.root / "made" / "truth.json").read_text())["funnel"]["rates"]
    events = [each.events for each in found.whole.stages]
    assert events[1] / events[0] == pytest.approx(rates["click_per_pageview"], rel=0.05)
    assert events[2] / events[1] == pytest.approx(rates["transfer_per_click"], rel=0.03)
    assert [each.bypass for each in found.whole.stages[1:]] == [0.0, 0.0, 0.0]
    assert [each.value_share for each in found.whole.stages] == [1.0] * 4
    correlations = [each.correlation_per_visit or 0.0 for each in found.whole.stages]
    assert correlations == sorted(correlations)


def test_the_clock_is_never_passed(shop: FilesProject) -> None:
    until = datetime(2024, 3, 1, tzinfo=UTC)
    early = funnel(shop.open(), "feed", until=until)
    assert early.span.end == until
    late = funnel(shop.open(), "feed", until=datetime(2025, 1, 1, tzinfo=UTC))
    assert late.span.end == datetime(2024, 4, 1, tzinfo=UTC)
    assert early.whole.stages[0].events < late.whole.stages[0].events


def test_segments_add_up_and_small_ones_are_said_to_be_small(found: PlannedFunnel, shop: FilesProject) -> None:
    assert sum(each.users for each in found.segments) == found.whole.users
    assert all(each.small == (each.users < 200) for each in found.segments)
    assert any(each.small for each in found.segments)
    told = printing.funnel(found, "page.html")
    assert "small" in told
    by_item = funnel(shop.open(), "feed", by="department")
    assert by_item.first_by == "click"
    assert sum(each.stages[1].events for each in by_item.segments) <= by_item.whole.stages[2].events
    assert "from click on: events before it have no item" in printing.funnel(by_item, "page.html")


def test_a_column_that_nobody_has_is_refused_with_those_that_there_are(shop: FilesProject) -> None:
    with pytest.raises(DataError, match="--by colour: neither users nor items have it; users have age"):
        funnel(shop.open(), "feed", by="colour")
    with pytest.raises(SpecError, match="nothing"):
        funnel(shop.open(), "nothing")


def test_a_span_without_events_or_too_short_is_refused(shop: FilesProject) -> None:
    day = timedelta(days=1)
    with pytest.raises(DataError, match="no whole day is left"):
        funnel(shop.open(), "feed", since=datetime(2024, 3, 31, 12, tzinfo=UTC))
    with pytest.raises(DataError, match="no event of pageview, click, transfer, purchase"):
        funnel(shop.open(), "feed", since=START - 100 * day, until=START - 60 * day)


def test_the_command_prints_what_the_document_and_the_page_say(
    shop: FilesProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop.root)
    monkeypatch.setattr("sys.argv", ["recsys", "funnel", "feed", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    page = (shop.root / document["page"]).read_text(encoding="utf-8")
    told = printing.funnel(funnel(shop.open(), "feed"), "page.html")
    for stage in document["funnel"]["stages"]:
        for text in (page, told):
            assert stage["stage"] in text
            assert f"{stage['events']:,}" in text
    assert document["reasons"][0] in told
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_units_and_days_have_bounds_in_the_table_the_document_and_the_page(found: PlannedFunnel) -> None:
    document = json.loads(json.dumps(found.document()))
    told, page = printing.funnel(found, "page.html"), funnel_page(document)
    for stage, read in zip(found.whole.stages[1:], document["funnel"]["stages"][1:], strict=True):
        need = stage.need
        assert need is not None
        assert need.days_bounds is not None
        assert need.units_bounds is not None
        assert (need.days_bounds.lower or 0) <= (need.days or 0) <= (need.days_bounds.upper or 9_999)
        assert read["need"]["days_bounds"] == {"lower": need.days_bounds.lower, "upper": need.days_bounds.upper}
        for text in (told, page):
            assert str(need.days_bounds) in text
            assert str(need.units_bounds) in text
    small = [each.need for segment in found.segments if segment.small for each in segment.stages[1:]]
    assert small
    assert all(each is None or each.days_bounds is None for each in small)


def test_a_list_takes_the_days_of_the_stage_that_is_modelled(found: PlannedFunnel) -> None:
    (row,) = [line for line in printing.funnel(found, "page.html").splitlines() if line.startswith("  feed ")]
    needs = {stage.stage: stage.need for stage in found.whole.stages}
    need = needs.get(found.advice.choice.stage or "")
    assert (str(need.days_bounds) if need else " - ") in row


def test_names_on_the_page_are_text(found: PlannedFunnel) -> None:
    document = found.document() | {"problem": "<b>feed</b>", "business_issue": "<script>alert(1)</script>"}
    page = funnel_page(document)
    assert "<b>feed" not in page
    assert "<script" not in page


# ---------------------------------------------------------------- a dirty log


def dirty() -> list[Row]:
    """Return a week of visits of 30 users; every tenth order has no price, and more orders than baskets come."""
    rows: list[Row] = []

    def add(kind: str, user: int, hours: float, **changes: Any) -> None:
        at = START + timedelta(weeks=2, hours=hours)
        changes = {"event_type": kind, "user_id": f"u{user}", "session_id": f"v{user}"} | changes
        rows.append(event(len(rows), 0, event_timestamp=at, created_timestamp=at, **changes))

    for user in range(30):
        add("pageview", user, 2 * user)
        add("click", user, 2 * user + 0.1)
        if user % 2:
            add("transfer", user, 2 * user + 0.2)
        add("purchase", user, 2 * user + 0.3, value=0.0 if user % 10 == 0 else 3.0)
    add("purchase", 1, 70, session_id=None)
    add("click", 2, 71, user_id=None)
    rows.append(rows[0])
    return rows


def test_a_dirty_log_is_digested_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    project = FilesProject(tmp_path)
    project.contract(maximum_refused_share=0.5)
    project.deliver(0, dirty())
    declare(tmp_path)
    ingest(project.open())
    found = funnel(project.open(), "feed")
    assert [each.users for each in found.whole.stages] == [30, 30, 15, 15]
    assert found.whole.stages[3].bypass == pytest.approx(16 / 31)
    assert found.whole.stages[2].value_share == pytest.approx(45 / 83)
    left_out = {(each.stage, each.rows, each.why.partition(":")[0]) for each in found.dropped}
    assert left_out == {("purchase", 3, "no value"), ("purchase", 1, "no session")}
    assert "user_id is missing (1)" in found.refused[0]
    assert "the same version of an event twice (1)" in found.refused[0]
    told = printing.funnel(found, "page.html")
    assert "not nested: 52% of the events purchase came without transfer" in told
    assert "not a problem for a model" in told


def test_without_a_funnel_the_target_follows_any_event(tmp_path: Path) -> None:
    project = FilesProject(tmp_path)
    project.deliver(0, [event(n, n / 10) for n in range(100)])
    declare(tmp_path, funnel=None)
    ingest(project.open())
    found = funnel(project.open(), "feed")
    assert [each.stage for each in found.whole.stages] == ["any event", "purchase"]
    assert found.whole.users == 3
    assert found.advice.weak == ()


# ---------------------------------------------------------------- where a weak stage loses


def orders(shares: Mapping[str, float], *, skip: bool = False) -> list[Row]:
    """Return visits of 200 users, each of one item that is clicked and, by its share, ordered."""
    rng, rows = np.random.default_rng(1), []
    for user in range(200):
        for item, share in shares.items():
            at = START + timedelta(weeks=2, hours=len(rows) / 20)
            visit = {"user_id": f"u{user}", "item_id": item, "session_id": f"v{user}-{item}"}
            kinds = ["pageview", "click", *(["purchase"] if rng.random() < share else [])]
            if skip and rng.random() < 0.75:
                kinds.remove("click")
            for place, kind in enumerate(kinds):
                happened = at + timedelta(minutes=place)
                times = {"event_timestamp": happened, "created_timestamp": happened}
                rows.append(event(len(rows), 0, event_type=kind, **visit, **times))
    return rows


@pytest.mark.parametrize(
    ("rows", "stage", "lever", "told"),
    [
        (
            orders({**{f"i{n}": 0.5 for n in range(6)}, **{f"low{n}": 0.01 for n in range(6)}}),
            "purchase",
            "product",
            "without them purchase is not weak, so look at these items and their prices",
        ),
        (orders({f"i{n}": 0.2 for n in range(12)}), "purchase", "user experience", "look at what all items share"),
        (
            orders({f"i{n}": 0.8 for n in range(12)}, skip=True),
            "click",
            "ranking",
            "of the events purchase came without click: before anything is changed, see whether every click is logged",
        ),
    ],
)
def test_a_planted_loss_is_named_by_what_the_past_says(
    tmp_path: Path, rows: list[Row], stage: str, lever: str, told: str
) -> None:
    project = FilesProject(tmp_path)
    project.deliver(0, rows)
    declare(tmp_path, funnel={"stages": ["pageview", "click", "purchase"], "within": "session"})
    ingest(project.open())
    found = funnel(project.open(), "feed")
    weak = {each.stage: each for each in found.advice.weak}
    assert weak[stage].lever == lever
    assert any(each.endswith(told) for each in weak[stage].evidence)
    assert told in printing.funnel(found, "page.html")
    assert told in found.page.read_text(encoding="utf-8")


def test_segments_say_whether_a_stage_is_weak_for_all(shop: FilesProject) -> None:
    declare(shop.root, planning={"weak_below": 0.9, "small_segment": 20})
    try:
        found = funnel(shop.open(), "feed", by="age")
    finally:
        declare(shop.root)
    told = [each for weak in found.advice.weak for each in weak.evidence if each.startswith("by age: weak in each of")]
    assert len(told) == 3
