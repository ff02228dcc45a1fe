"""Is what a caller says of the moment learned from, answered by, logged and told again, the same value everywhere?"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from fastapi.testclient import TestClient

from recsys.adapters.feast_features import DeclaredFeatures
from recsys.candidates.pool import to_numpy
from recsys.errors import ModelError, SpecError
from recsys.modeling.moments import Moments
from recsys.modeling.shown import shown_requests, shown_slots
from recsys.ports import Exposure, ShownItem
from recsys.printing.requests import why as printed
from recsys.schema import EVENT_TIMESTAMP, ITEM, REQUEST_ID, USER
from recsys.serving.group_commit import GroupCommit
from recsys.serving.ranking import feature_digest
from recsys.serving.resolver import Resolver
from recsys.serving.state import Online
from recsys.web.app import Service, create_app
from recsys.workflows.data.forget import forget
from recsys.workflows.data.ingest import ingest
from recsys.workflows.declarations.validate import validate
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.compare import compare
from recsys.workflows.modeling.dataset import build_dataset, check_dataset
from recsys.workflows.modeling.judging import scores_of
from recsys.workflows.modeling.train import Trained, train
from recsys.workflows.monitoring.skew import skew
from recsys.workflows.requests.why import Explaining
from recsys.workflows.requests.why_document import document
from recsys.workflows.workspace import Workspace
from tests.fakes.clock import FixedClock
from tests.integration.conftest import edit, feast_apply
from tests.workflows.files_project import START, WEEK, FilesProject, Row, event

WEEKS: Final = 9
NOW: Final = START + WEEKS * WEEK
ITEMS: Final = [f"i{number:02}" for number in range(12)]
USERS: Final = [f"u{number}" for number in range(8)]
VERSION: Final = "basket/moment"
CONTEXT: Final = {"device": "text", "cart_value": "number", "cart_since": "time"}

VIEW: Final = '''

from feast.types import Float64, String

moment_of_page = RequestSource(
    name="moment_of_page",
    schema=[
        Field(name="device", dtype=String),
        Field(name="cart_value", dtype=Float64),
        Field(name="cart_since", dtype=UnixTimestamp),
    ],
)


@on_demand_feature_view(
    sources=[item_weekly, moment_of_page, request],
    schema=[
        Field(name="device_now", dtype=String),
        *number_fields("device_fits", "cart_hours", "cart_value_of_sales"),
    ],
    mode="python",
    description="What the page knows of this moment, beside the item",
)
def page_moment(inputs: dict[str, Any]) -> dict[str, Any]:
    """Read what the caller says; lists and arrays as in `rhythm`."""
    import numpy as np

    def seconds(name: str) -> Any:
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            whole = values.astype("datetime64[us]")
            return np.where(np.isnat(whole), np.nan, whole.astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    device = np.asarray(inputs["device"], dtype=object)
    sales = np.asarray(inputs["item_baskets_28d"], dtype=float)
    outputs = {
        "device_now": device,
        "device_fits": np.where(
            device == "unknown", np.nan, (device == "phone") == (np.asarray(inputs["item_brand"], dtype=object) == "b0")
        ),
        "cart_hours": (seconds("request_timestamp") - seconds("cart_since")) / 3_600,
        "cart_value_of_sales": np.asarray(inputs["cart_value"], dtype=float) / np.maximum(np.nan_to_num(sales), 1),
    }
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}
'''

SERVICE: Final = """
from request_time import page_moment

basket_moment = FeatureService(
    name="basket_moment",
    features=[item_weekly[["item_baskets_28d", "item_brand"]], page_moment],
)
"""


def visits() -> tuple[list[Row], list[Exposure]]:
    """Return lists of past weeks and what was bought of them: on a phone of brand b0, on a desk of brand b1."""
    random = np.random.default_rng(5)
    events: list[Row] = []
    exposures: list[Exposure] = []
    for week in range(WEEKS):
        for user in USERS:
            for day in (0, 2, 4):
                name = f"{week}-{day}-{user}"
                at = START + week * WEEK + timedelta(days=day, minutes=float(random.integers(10, 600)))
                device = random.choice(["phone", "desk"])
                shown = random.permutation(ITEMS).tolist()
                bought = next(item for item in shown if brand(item) == ("b0" if device == "phone" else "b1"))
                events.append(
                    event(0, 0, event_id=name, user_id=user, item_id=bought)
                    | {"session_id": name, "event_timestamp": at, "created_timestamp": at}
                )
                said = {
                    "device": device,
                    "cart_value": float(random.integers(1, 90)) + 0.1,
                    "cart_since": (at - timedelta(hours=3)).isoformat(),
                }
                slots = [ShownItem(item, place + 1, 0.0) for place, item in enumerate(shown)]
                exposures.append(
                    Exposure(
                        request_id=f"r-{name}",
                        placement="home",
                        user_id=user,
                        session_id=None,
                        experiment=None,
                        arm=None,
                        overridden=False,
                        model_version=None,
                        weights=None,
                        fallback=None,
                        event_timestamp=at - timedelta(minutes=8),
                        feature_digest="",
                        watermarks={},
                        items=slots,
                        asked={"k": 12, "context": said} if day else {"k": 12},
                    )
                )
    return events, exposures


def brand(item: str) -> str:
    """Return an item's brand."""
    return f"b{int(item[1:]) % 2}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FilesProject:
    """A shop whose page says what it knows, with features online and a log of lists; nothing is trained."""
    made = FilesProject(tmp_path_factory.mktemp("context"))
    made.declare(clock={"replay_from": f"{NOW:%Y-%m-%d}"})
    made.catalogue("items", [{"item_id": item, "line_id": "l0", "brand": brand(item)} for item in ITEMS])
    made.catalogue("users", [{"user_id": user} for user in USERS])
    events, exposures = visits()
    made.deliver(0, [*events, event(0, WEEKS)])
    for name, more in (("request_time.py", VIEW), ("services.py", SERVICE)):
        path = made.root / "feature_repo" / name
        path.write_text(path.read_text() + more)
    spec = yaml.safe_load((made.root / "registry/models/basket/v2.yaml").read_text())
    spec["algorithm"] = {
        "type": "catboost",
        "loss": "Logloss",
        "iterations": 40,
        "depth": 4,
        "learning_rate": 0.3,
        "categorical": ["device_now", "item_brand"],
    }
    spec |= {
        "feature_service": "basket_moment",
        "negatives": {"source": "shown"},
        "training": {"decision_times": 4},
        "testing": {"decision_times": 2},
        "baselines": {"popularity": "item_weekly:item_baskets_28d"},
        "gate": {"metric": "ndcg@10/user", "against": "popularity"},
    }
    (made.root / f"registry/models/{VERSION}.yaml").write_text(yaml.safe_dump(spec))
    for name in ("home", "for_you"):
        edit(made.root / f"registry/placements/{name}.yaml", lambda place: place.update(context=CONTEXT))
    edit(
        made.root / "registry/problems/weekly_basket.yaml",
        lambda problem: problem.update(target={"event": "purchase", "horizon": "1d", "settle_delay": "0d"}),
    )
    workspace = made.open()
    validate(workspace)
    workspace.event_log.write_exposures(exposures)
    ingest(workspace)
    build_tables(workspace)
    feast_apply(made.root)
    materialize(workspace)
    return made


@pytest.fixture(scope="module")
def shop(project: FilesProject) -> Workspace:
    """The shop, opened."""
    return project.open()


@pytest.fixture(scope="module")
def trained(shop: Workspace) -> Trained:
    """Its model, trained."""
    return train(shop, VERSION)


@pytest.fixture
def client(shop: Workspace, trained: Trained) -> Iterator[TestClient]:
    """A service that answers by the model, whatever its gate says."""
    clock = FixedClock(NOW + timedelta(hours=1))
    resolver = Resolver(
        name="home",
        placement=shop.catalog.placement("home"),
        online=Online(shop.features, shop.item_models),
        registry=shop.registry,
        champion_of=lambda _: trained.weights,
        routers=[],
        clock=clock,
        feature_service_of=lambda version: shop.catalog.model(version).feature_service,
        feature_rows=1.0,
    )
    resolver.refresh()
    log = GroupCommit(shop.event_log, wait_seconds=60)
    service = Service({"home": resolver}, log, clock, poll_seconds=60, on_stop=log.close)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as made:
        yield made


def asked(client: TestClient, shop: Workspace, user: str = "u1", **context: Any) -> Exposure:
    """Ask for a list, and return what was logged of it."""
    body = {"placement": "home", "user_id": user, "k": 12} | ({"context": context} if context else {})
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["fallback"] is None
    logged = shop.event_log.request(answer.json()["request_id"])
    assert logged is not None
    return logged


def test_training_rows_have_what_their_requests_said(shop: Workspace) -> None:
    rows = build_dataset(shop, VERSION).dataset.rows("learn")
    assert set(rows["device_now"].to_pylist()) == {"phone", "desk", "unknown"}
    hours = to_numpy(rows["cart_hours"])
    assert set(np.round(hours[~np.isnan(hours)], 6)) == {round(3 - 8 / 60, 6)}
    silent = to_numpy(pc.equal(rows["device_now"], "unknown"))
    assert np.array_equal(silent == 1, np.isnan(hours))
    assert np.array_equal(silent == 1, np.isnan(to_numpy(rows["cart_value_of_sales"])))
    tested = build_dataset(shop, VERSION).dataset.rows("test")
    assert set(tested["device_now"].to_pylist()) == {"unknown"}
    found = check_dataset(shop, VERSION)
    assert (found.violations, found.intact) == ((), True)
    assert set(found.unchecked) == {
        f"column {name}: the request brings it along, and it was not made anew" for name in CONTEXT
    }


def test_the_report_remarks_that_nobody_said_anything_in_a_test(trained: Trained) -> None:
    (remark,) = [each for each in trained.report["remarks"] if each.startswith("context ")]
    assert ": unknown in every test request" in remark
    assert all(name in remark.partition(":")[0] for name in (*CONTEXT, VERSION))


def test_rows_of_another_versions_requests_say_nothing(shop: Workspace, trained: Trained) -> None:
    """As where it is compared, or judged as the champion; it scores them as its own test rows."""
    train(shop, "basket/v1")
    compared = compare(shop, "basket/v1", VERSION)
    assert trained.weights.number == compared.document["second"]["weights"]
    (remark,) = [each for each in compared.document["remarks"] if each.startswith("context ")]
    assert VERSION in remark
    theirs, own = (build_dataset(shop, version).dataset.rows("test") for version in ("basket/v1", VERSION))
    assert "device" not in theirs.column_names
    scores, mine = (scores_by_row(shop, trained, rows) for rows in (theirs, own))
    shared = sorted(set(scores) & set(mine))
    assert len(shared) > 50
    np.testing.assert_allclose([scores[key] for key in shared], [mine[key] for key in shared])


def scores_by_row(shop: Workspace, trained: Trained, rows: pa.Table) -> dict[tuple[Any, ...], float]:
    """Return the score of every row by its unit, item and decision time."""
    keys = zip(*(rows[name].to_pylist() for name in (USER, ITEM, EVENT_TIMESTAMP)), strict=True)
    return dict(zip(keys, scores_of(shop, trained.weights, rows).tolist(), strict=True))


def test_what_the_page_says_decides(client: TestClient, shop: Workspace) -> None:
    """By what was learned of shown lists: b0 is bought on phones, b1 at desks."""
    phone, desk = (asked(client, shop, device=device, cart_value=7.1) for device in ("phone", "desk"))
    assert brand(phone.items[0].item_id) == "b0"
    assert brand(desk.items[0].item_id) == "b1"
    assert phone.features is not None
    assert set(phone.features["device_now"]) == {"phone"}


def test_an_answer_is_made_again_and_its_training_rows_read_what_it_read(client: TestClient, shop: Workspace) -> None:
    since = (NOW - timedelta(hours=1)).isoformat()
    said = {"device": "phone", "cart_value": 0.1 + 0.2, "cart_since": since}
    lists = [
        asked(client, shop, "u2", **said),
        asked(client, shop, "u2", **said | {"device": "tv"}),
        asked(client, shop, "u3", cart_value=1e15),
        asked(client, shop, "u3"),
    ]
    assert lists[0].asked == {"k": 12, "context": said}
    assert lists[3].asked == {"k": 12}
    again = Explaining(shop)
    for each in lists:
        found = again.why(each)
        assert found.digest_equal, each.asked
        assert found.items_equal
        assert found.differing == {}
        assert document(found)["asked"] == each.asked
        assert ("\n  context: " in printed(found)) == ("context" in each.asked)
    compared = skew(shop, VERSION, since=NOW, until=NOW + WEEK).skew
    assert compared.requests >= len(lists)
    assert compared.findings == ()
    forged = Exposure(**vars(lists[0]) | {"asked": {"k": 12, "context": said | {"device": "desk"}}})
    assert not again.why(forged).digest_equal

    slots = shown_slots(shop.event_log, "home", NOW, NOW + WEEK, CONTEXT)
    of = {each.request_id: each for each in lists}
    slots = slots.filter(pc.is_in(slots[REQUEST_ID], value_set=pa.array(list(of))))
    taken = slots.select([REQUEST_ID, ITEM]).slice(0, 0)
    placement = shop.catalog.placement("home")
    made = shown_requests(Moments(shop.features), placement, slots, taken, WEEK, [], tuple(CONTEXT))
    wanted = shop.features.feature_set("basket_moment")
    joined = shop.features.historical(made.rows, wanted)
    columns = {name: to_numpy(joined[name]) for name in wanted.columns}
    requests = np.array(slots[REQUEST_ID].to_pylist())
    for request, each in of.items():
        assert feature_digest(columns, np.flatnonzero(requests == request)) == each.feature_digest


def test_who_learns_from_candidates_is_refused(project: FilesProject) -> None:
    path = project.root / "registry/models/basket/unlearned.yaml"
    spec = yaml.safe_load((project.root / f"registry/models/{VERSION}.yaml").read_text())
    path.write_text(yaml.safe_dump(spec | {"negatives": {"source": "candidates"}}))
    try:
        with pytest.raises(SpecError) as found:
            validate(project.open())
        (line,) = found.value.problems
        assert line.startswith("registry/models/basket/unlearned.yaml: negatives.source: candidates: basket_moment")
        with pytest.raises(ModelError, match="learns from no request"):
            train(project.open(), "basket/unlearned")
    finally:
        path.unlink()


def test_a_kind_of_the_context_is_that_of_the_request_source(project: FilesProject) -> None:
    path = project.root / "registry/placements/home.yaml"
    text = path.read_text()
    edit(path, lambda place: place.update(context=CONTEXT | {"device": "number"}))
    try:
        with pytest.raises(
            SpecError, match="page_moment reads device as a text; in the context of placement home it is"
        ):
            validate(project.open())
    finally:
        path.write_text(text)


def test_kinds_of_what_is_read_are_part_of_the_logic_and_other_views_have_none(project: FilesProject) -> None:
    def digest_of(service: str) -> str:
        return DeclaredFeatures(project.root / "feature_repo", "feature_store.yaml").feature_set(service).digest

    path = project.root / "feature_repo/request_time.py"
    text = path.read_text()
    before = {service: digest_of(service) for service in ("basket_moment", "basket_full")}
    path.write_text(text.replace('Field(name="device", dtype=String)', 'Field(name="device", dtype=Float64)'))
    try:
        assert digest_of("basket_moment") != before["basket_moment"]
        assert digest_of("basket_full") == before["basket_full"]
    finally:
        path.write_text(text)


def test_what_a_user_said_is_forgotten_with_the_user(client: TestClient, shop: Workspace) -> None:
    logged = asked(client, shop, "u7", device="a-rare-phone")
    forget(shop, ["u7"])
    assert shop.event_log.request(logged.request_id) is None
    contexts = shop.event_log.contexts("home", START, NOW + WEEK)
    assert "a-rare-phone" not in "".join(contexts["context"].to_pylist())
    assert b"a-rare-phone" not in b"".join(
        path.read_bytes() for path in (shop.root / ".recsys").glob("event_log.db*") if path.is_file()
    )
    kept = [pq.read_table(path, columns=[USER]) for path in shop.datasets.rglob("learn*.parquet")]
    assert kept
    assert all("u7" not in rows[USER].to_pylist() for rows in kept)
