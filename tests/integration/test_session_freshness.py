"""Does what happens in a session change its next list, and does the past say of the features what the request read?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fastapi.testclient import TestClient

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import Exposure, FeatureReader, ShownItem
from recsys.schema import EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, SESSION, TIMESTAMP, USER
from recsys.serving.freshness import SessionFeatures
from recsys.serving.group_commit import GroupCommit
from recsys.serving.ranking import feature_digest
from recsys.serving.resolver import Resolver
from recsys.serving.state import Online
from recsys.web.app import Service, create_app
from recsys.wiring import open_workspace
from recsys.workflows.data.forget import forget
from recsys.workflows.data.ingest import ingest
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.dataset import build_dataset, check_dataset
from recsys.workflows.modeling.train import train
from recsys.workflows.monitoring.skew import skew
from recsys.workflows.requests.why import Explaining
from recsys.workflows.serving.resolvers import session_features
from recsys.workflows.workspace import Workspace
from tests.fakes.clock import FixedClock
from tests.integration.conftest import edit, feast_apply
from tests.workflows.files_project import START, WEEK, FilesProject, Row, event

WEEKS: Final = 9
NOW: Final = START + WEEKS * WEEK
MINUTE: Final = timedelta(minutes=1)
ITEMS: Final = [f"i{number:02}" for number in range(12)]
USERS: Final = [f"u{number}" for number in range(8)]
VERSION: Final = "basket/session"

SERVICE: Final = """
basket_session = FeatureService(
    name="basket_session",
    features=[
        item_weekly[["item_baskets_28d"]],
        session_item[["session_item_views", "session_item_carts"]],
        session_category[["session_category_views"]],
        attention,
    ],
)
"""


def visits() -> tuple[list[Row], list[Exposure]]:
    """Return what households did in past weeks: they look at something, are shown a list, and buy what they saw."""
    random = np.random.default_rng(5)
    events: list[Row] = []
    exposures: list[Exposure] = []
    for week in range(WEEKS):
        for user in USERS:
            for day in (0, 2, 4):
                session = f"s{week}-{day}-{user}"
                at = START + week * WEEK + timedelta(days=day, minutes=float(random.integers(10, 600)))
                seen, *others = random.permutation(ITEMS).tolist()
                happened = [
                    ("click", seen, at),
                    ("click", others[0], at - 5 * MINUTE),
                    ("purchase", seen, at + 9 * MINUTE),
                ]
                for number, (kind, item, when) in enumerate(happened):
                    events.append(
                        event(0, 0, event_id=f"{session}-{number}", event_type=kind, user_id=user, item_id=item)
                        | {"session_id": session, "event_timestamp": when, "created_timestamp": when}
                    )
                shown = random.permutation(ITEMS).tolist()
                slots = [ShownItem(item, place + 1, 0.0) for place, item in enumerate(shown)]
                exposures.append(
                    Exposure(
                        f"r-{session}",
                        "home",
                        user,
                        session,
                        None,
                        None,
                        False,
                        None,
                        None,
                        None,
                        at + MINUTE,
                        "",
                        {},
                        slots,
                    )
                )
    return events, exposures


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A shop whose model was trained on logged lists, with the features of their sessions."""
    project = FilesProject(tmp_path_factory.mktemp("sessions"))
    project.declare(clock={"replay_from": f"{NOW:%Y-%m-%d}"})
    lines = [{"item_id": item, "line_id": f"l{n % 4}", "category": f"c{n % 3}"} for n, item in enumerate(ITEMS)]
    project.catalogue("items", lines)
    project.catalogue("users", [{"user_id": user} for user in USERS])
    events, exposures = visits()
    # The first one of the week that has begun says that the week before is over.
    project.deliver(0, [*events, event(0, WEEKS)])
    services = project.root / "feature_repo" / "services.py"
    text = services.read_text().replace("import affinity,", "import affinity, attention,")
    services.write_text(
        text.replace("    item_weekly,\n", "    item_weekly,\n    session_category,\n    session_item,\n") + SERVICE
    )
    spec = yaml.safe_load((project.root / "registry/models/basket/v2.yaml").read_text())
    spec["algorithm"] = {"type": "catboost", "loss": "Logloss", "iterations": 30, "depth": 3, "learning_rate": 0.3}
    spec |= {
        "feature_service": "basket_session",
        "negatives": {"source": "shown"},
        "training": {"decision_times": 4},
        "testing": {"decision_times": 2},
        "baselines": {"popularity": "item_weekly:item_baskets_28d"},
        "gate": {"metric": "ndcg@10/user", "against": "popularity"},
    }
    (project.root / f"registry/models/{VERSION}.yaml").write_text(yaml.safe_dump(spec))
    # A part of the lists that were shown ends a horizon before the next one begins.
    edit(
        project.root / "registry/problems/weekly_basket.yaml",
        lambda problem: problem.update(target={"event": "purchase", "horizon": "1d", "settle_delay": "0d"}),
    )
    edit(
        project.root / "registry/placements/home.yaml",
        lambda home: home["candidates"].append(
            {
                "source": "personal",
                "name": "visit",
                "view": "session_item",
                "order_by": ["session_item_views"],
                "limit": 5,
            }
        ),
    )
    workspace = project.open()
    workspace.event_log.write_exposures(exposures)
    ingest(workspace)
    build_tables(workspace)
    feast_apply(project.root)
    materialize(workspace)
    train(workspace, VERSION)
    return workspace


THEIRS = {
    "event_id": "theirs-1",
    "event_type": "click",
    "user_id": "u1",
    "item_id": "i05",
    "session_id": "theirs",
}


@dataclass
class Page:
    """A shop's page, and the clock of the service behind it."""

    client: TestClient
    clock: FixedClock
    workspace: Workspace

    def act(self, session: str, item: str, number: int, kind: str = "click") -> None:
        """Post an event of now."""
        said = {"event_id": f"{session}-{number}", "event_type": kind, "user_id": "u0", "item_id": item}
        answer = self.client.post("/v1/events", json={"events": [said | {"session_id": session}]})
        assert answer.status_code == 200, answer.text

    def list(self, session: str | None) -> Exposure:
        """Ask for a list, and return what was logged of it."""
        asked = {"placement": "home", "user_id": "u0"} | ({} if session is None else {"session_id": session})
        answer = self.client.post("/v1/recommend", json=asked).json()
        assert answer["fallback"] is None
        logged = self.workspace.event_log.request(answer["request_id"])
        assert logged is not None
        return logged

    def figure(self, line: str) -> float:
        """Return a figure that the service tells Prometheus."""
        text = self.client.get("/metrics").text.splitlines()
        return next((float(found.rpartition(" ")[2]) for found in text if found.startswith(line)), 0.0)


def served(workspace: Workspace, sessions: SessionFeatures | None = None) -> tuple[Service, FixedClock]:
    """Put a service together whose clock can be moved; it serves the newest weights, whatever their gate says."""
    clock = FixedClock(NOW)
    resolver = Resolver(
        name="home",
        placement=workspace.catalog.placement("home"),
        online=Online(workspace.features, workspace.item_models),
        registry=workspace.registry,
        champion_of=lambda model: workspace.registry.search(model)[0],
        routers=[],
        clock=clock,
        feature_service_of=lambda version: workspace.catalog.model(version).feature_service,
        feature_rows=1.0,
    )
    resolver.refresh()
    log = GroupCommit(workspace.event_log, wait_seconds=60)
    follow = sessions or session_features(workspace)
    return Service({"home": resolver}, log, clock, sessions=follow, on_stop=log.close), clock


@pytest.fixture
def page(shop: Workspace) -> Iterator[Page]:
    """Serve the shop."""
    service, clock = served(shop)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        yield Page(client, clock, shop)


def offline_digest(workspace: Workspace, exposure: Exposure) -> str:
    """Return the digest of a list's features, joined as known at its time from the tables."""
    features = workspace.features.feature_set("basket_session")
    category = {item: f"c{number % 3}" for number, item in enumerate(ITEMS)}
    items = [item.item_id for item in exposure.items]
    at = pa.array([exposure.event_timestamp] * len(items), TIMESTAMP)
    rows = pa.table(
        {
            USER: [exposure.user_id] * len(items),
            SESSION: pa.array([exposure.session_id] * len(items), pa.string()),
            ITEM: items,
            "item_category": [category[item] for item in items],
            EVENT_TIMESTAMP: at,
            REQUEST_TIMESTAMP: at,
        }
    )
    joined = workspace.features.historical(rows, features)
    columns = {name: to_numpy(joined[name]) for name in features.columns}
    return feature_digest(columns, np.arange(len(items)))


def test_training_rows_carry_what_their_sessions_had_done(shop: Workspace) -> None:
    """Each list of the log has two items that were looked at before, and every row holds its own check."""
    rows = build_dataset(shop, VERSION).dataset.rows("learn")
    views = to_numpy(rows["session_item_views"])
    assert np.nansum(views) == 2 * len(set(rows[SESSION].to_pylist()))
    assert set(to_numpy(rows["session_item_seconds_since"])[~np.isnan(views)]) == {60.0, 360.0}
    found = check_dataset(shop, VERSION)
    assert (found.violations, found.unchecked, found.intact) == ((), (), True)


def test_an_event_changes_the_next_list_of_its_session_and_of_no_other(page: Page) -> None:
    """By what the model learned of sessions; the candidate came in by the session too."""
    pushed = page.figure('recsys_session_pushes_total{result="pushed"}')
    least = page.list("visit-1").items[-1].item_id
    page.clock.advance(MINUTE)
    page.act("visit-1", least, 1)
    page.clock.advance(MINUTE)
    after = page.list("visit-1")
    assert after.items[0].item_id == least
    others = {page.list("visit-2").items[0].item_id, page.list(None).items[0].item_id}
    assert least not in others
    # What the request read of its session: the event of a minute ago.
    known = (page.clock.now() - MINUTE).isoformat()
    assert {view: after.watermarks[view] for view in ("session_item", "session_category")} == {
        "session_item": known,
        "session_category": known,
    }
    assert "session_item" not in page.list("visit-2").watermarks
    assert page.figure('recsys_session_pushes_total{result="pushed"}') == pushed + 1


def test_what_a_request_read_is_what_the_past_says_of_its_moment(page: Page) -> None:
    """Lists between events, at the very moments of events, with and without a session."""
    page.clock.advance(timedelta(hours=1))
    lists = [page.list("visit-3")]
    for number, (item, kind) in enumerate(
        [("i01", "click"), ("i04", "click"), ("i01", "transfer"), ("i01", "pageview")]
    ):
        page.clock.advance(MINUTE)
        page.act("visit-3", item, number, kind)
        lists.append(page.list("visit-3"))
        page.clock.advance(MINUTE / 2)
        lists.append(page.list("visit-3"))
    page.clock.advance(timedelta(days=2))
    lists.append(page.list("visit-3"))
    lists.append(page.list(None))
    again = Explaining(page.workspace)
    assert all((found := again.why(each)).digest_equal and found.items_equal for each in lists)
    compared = skew(page.workspace, VERSION, since=lists[0].event_timestamp, until=NOW + WEEK).skew
    assert (compared.requests, compared.findings) == (len(lists), ())
    deliver_log(page.workspace)
    assert [offline_digest(page.workspace, each) for each in lists] == [each.feature_digest for each in lists]
    assert len({each.feature_digest for each in lists[:9]}) == 9


def deliver_log(workspace: Workspace) -> None:
    """Let the shop deliver what its log has, and build."""
    project = FilesProject.__new__(FilesProject)
    project.root = workspace.root
    log = workspace.event_log
    kinds = ("click", "transfer", "pageview")
    rows = [row for kind in kinds for row in log.outcomes(kind, NOW, NOW + WEEK).to_pylist()]
    project.deliver(1, rows)
    ingest(project.open())
    build_tables(project.open())


class Down:
    """An online store that takes no rows while it is down."""

    def __init__(self, features: FeatureReader) -> None:
        """Start down."""
        self._features, self.down = features, True

    def push(self, view: str, rows: pa.Table) -> None:
        """Fail, or write."""
        if self.down:
            message = "online store: does not answer"
            raise FeatureError(message)
        self._features.push(view, rows)


def test_an_event_is_kept_where_it_cannot_be_pushed_and_the_next_one_makes_up_for_it(shop: Workspace) -> None:
    """The post succeeds, the failure is counted, and nothing of the session is lost."""
    real = session_features(shop)
    assert real is not None
    down = Down(shop.features)
    real._features = down  # type: ignore[assignment]
    service, clock = served(shop, real)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        page = Page(client, clock, shop)
        failed = page.figure('recsys_session_pushes_total{result="failed"}')
        page.act("visit-4", "i02", 1)
        assert page.figure('recsys_session_pushes_total{result="failed"}') == failed + 1
        assert shop.features.online_group("session_item", "visit-4") is None
        assert len(shop.event_log.session_events(["visit-4"], ["click"], 9)) == 1
        down.down = False
        clock.advance(MINUTE)
        page.act("visit-4", "i03", 2)
        group = shop.features.online_group("session_item", "visit-4")
        assert group is not None
        assert sorted(group[ITEM].to_pylist()) == ["i02", "i03"]


def test_an_empty_store_is_filled_with_the_sessions_that_still_count(page: Page) -> None:
    """A materialize brings back what was pushed and delivered, within the view's TTL."""
    page.clock.advance(timedelta(days=3))
    page.act("visit-5", "i05", 1)
    deliver_log(page.workspace)
    features = page.workspace.adapters.features(page.workspace.replay_state / "empty")
    assert features.online_group("session_item", "visit-5") is None
    features.materialize(page.clock.now())
    group = features.online_group("session_item", "visit-5")
    assert group is not None
    assert group[ITEM].to_pylist() == ["i05"]


def test_who_is_forgotten_leaves_no_session_behind(page: Page) -> None:
    """Neither online nor in the tables that are keyed by sessions and name nobody."""
    page.clock.advance(timedelta(days=4))
    page.act("visit-6", "i05", 1)
    page.client.post("/v1/events", json={"events": [THEIRS]})
    deliver_log(page.workspace)
    erased = forget(open_workspace("local", page.workspace.root), ["u0"])
    assert erased.rows["online store: session_item"] > 0
    assert erased.rows["features/session_item"] > 0
    features = page.workspace.adapters.features(None)
    assert features.online_group("session_item", "visit-6") is None
    assert features.online_group("session_item", "theirs") is not None
    left = pq.read_table(page.workspace.feature_tables / "session_item")[SESSION].to_pylist()
    assert "theirs" in left
    assert not any(session.startswith("visit-") for session in left)
