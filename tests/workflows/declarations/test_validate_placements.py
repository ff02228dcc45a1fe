"""Is every reference of a placement into the feature repository checked: there, keyed right and of the right kind?"""

from typing import Any

import pytest
from pydantic import ValidationError

from recsys.ports import FeatureSet, RequestTransform
from recsys.specs.catalog import Catalog
from recsys.specs.model import ModelVersion
from recsys.specs.placement import Audience, Placement
from recsys.workflows.declarations.validate_placements import (
    answering_findings,
    audience_findings,
    learning_findings,
    placement_findings,
    request_findings,
    selecting_findings,
)
from tests.serving.small_shop import CONTEXT, placement, shop

SHOP = shop()
FILE = "registry/placements/home.yaml"
PERSONAL = {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}


def findings(*candidates: dict[str, Any], **changes: Any) -> list[str]:
    """Return what is wrong with a placement, without the file's name."""
    declared = placement(candidates=candidates or (PERSONAL,), **changes)
    found = list(placement_findings(SHOP, declared, FILE))
    assert all(line.startswith(f"{FILE}: ") for line in found)
    return [line.removeprefix(f"{FILE}: ") for line in found]


def test_a_placement_that_holds_together_has_no_findings() -> None:
    sources = [
        PERSONAL,
        {"source": "covisit", "view": "pair", "strength": "times", "limit": 4},
        {"source": "ease", "view": "pair", "limit": 4},
        {"source": "popular", "order_by": "sold", "by": "brand", "per_value": 2, "limit": 4},
        {"source": "given", "limit": 4},
    ]
    filters = [
        {"filter": "seen", "view": "pair", "by": "last", "within": "7d"},
        {"filter": "items", "deny": ["a"]},
        {"filter": "values", "feature": "brand", "deny": ["x"]},
        {"filter": "stock", "feature": "sold"},
    ]
    starters = [{"source": "popular", "name": "starters", "order_by": "sold", "limit": 4}]
    assert findings(*sources, filters=filters, new_units=starters) == []


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        (PERSONAL | {"view": "gone"}, "candidates.0.view: feature view 'gone': not declared"),
        (
            PERSONAL | {"view": "user_line"},
            "candidates.0.view: user_line: keyed by user_id, line_id; it has to be a view",
        ),
        (PERSONAL | {"order_by": ["x"]}, "candidates.0: x: not a feature of view pair; it has times, last"),
        (PERSONAL | {"order_by": ["last"]}, "candidates.0: last: a time in view pair; it has to be a number"),
        (
            {"source": "covisit", "view": "item_week", "limit": 4},
            "candidates.0.view: item_week: keyed by item_id; it has",
        ),
        (
            {"source": "covisit", "view": "pair", "strength": "last", "limit": 4},
            "candidates.0: last: a time in view pair",
        ),
        ({"source": "ease", "view": "gone", "limit": 4}, "candidates.0.view: feature view 'gone': not declared"),
        (
            {"source": "popular", "order_by": "brand", "limit": 4},
            "candidates.0: brand: a text in view item_week; it has to",
        ),
        (
            {"source": "popular", "order_by": "sold", "by": "x", "per_value": 1, "limit": 4},
            "candidates.0: x: not a feature of view item_week",
        ),
        (
            {"source": "newest", "order_by": "sold", "within": "7d", "limit": 4},
            "candidates.0: sold: a number in view item_week; it has to be a time",
        ),
    ],
)
def test_a_source_that_leads_nowhere_is_found(source: dict[str, Any], finding: str) -> None:
    (found,) = findings(source)
    assert found.startswith(finding)


@pytest.mark.parametrize(
    ("filter_", "finding"),
    [
        ({"filter": "seen", "view": "user_line"}, "filters.0.view: user_line: keyed by user_id, line_id"),
        ({"filter": "seen", "view": "pair", "by": "times", "within": "7d"}, "filters.0: times: a number in view pair"),
        ({"filter": "values", "feature": "sold", "deny": ["x"]}, "filters.0: sold: a number in view item_week; it has"),
        ({"filter": "stock", "feature": "brand"}, "filters.0: brand: a text in view item_week; it has to be a number"),
        ({"filter": "stock", "feature": "x"}, "filters.0: x: not a feature of view item_week"),
    ],
)
def test_a_filter_that_leads_nowhere_is_found(filter_: dict[str, Any], finding: str) -> None:
    (found,) = findings(filters=[filter_])
    assert found.startswith(finding)


@pytest.mark.parametrize(
    ("stage", "finding"),
    [
        ({"stage": "cap", "by": "sold", "most": 2}, "rerank.0: sold: a number in view item_week; it has to be a text"),
        (
            {"stage": "diversity", "by": ["brand", "colour"], "weight": 0.3},
            "rerank.0: colour: not a feature of view item_week; it has",
        ),
    ],
)
def test_a_stage_that_leads_nowhere_is_found(stage: dict[str, Any], finding: str) -> None:
    (found,) = findings(rerank=[stage])
    assert found.startswith(finding)


def test_all_findings_of_a_placement_come_at_once() -> None:
    found = findings(
        PERSONAL | {"view": "gone"},
        pool={"view": "pair", "feature": "times"},
        new_units=[{"source": "popular", "order_by": "x", "limit": 3}],
    )
    assert [line.partition(":")[0] for line in found] == ["pool.view", "candidates.0.view", "new_units.0.view"]


def test_an_audience_is_of_a_view_of_units() -> None:
    def of(view: str, feature: str) -> list[str]:
        audience = Audience.model_validate({"problem": "p", "model": "m", "units": {"view": view, "feature": feature}})
        return list(audience_findings(SHOP, audience, "registry/audiences/all.yaml"))

    assert of("user_week", "visits") == []
    assert of("item_week", "sold") == [
        "registry/audiences/all.yaml: units.view: item_week: keyed by item_id; it has to be a view of user_id"
    ]
    assert of("user_week", "seen") == [
        "registry/audiences/all.yaml: units: seen: a time in view user_week; it has to be a number"
    ]


def test_what_features_need_of_a_request_has_to_be_a_sources_score() -> None:
    strength = RequestTransform(
        "strength", ("times", "covisit_score", "request_timestamp"), ("s",), lambda inputs: inputs
    )
    wanted = FeatureSet("f", ("s",), ("strength:s",), (SHOP.view("pair"),), (strength,))
    where = "registry/models/basket/v3.yaml: feature_service"
    covisit = {"source": "covisit", "view": "pair", "limit": 4}
    assert list(request_findings(SHOP, wanted, "home", placement(candidates=[PERSONAL, covisit]), where)) == []
    (found,) = request_findings(
        SHOP, wanted, "home", placement(candidates=[PERSONAL, covisit | {"name": "other"}]), where
    )
    assert found.startswith(
        f"{where}: on-demand view strength reads covisit_score of the request; requests of placement home bring"
        " request_timestamp, sources, other_score:"
    )


def test_a_session_may_be_a_source_and_no_model_may_read_its_scores() -> None:
    """A request of the past has no session: what a model learned would be another thing than what it is asked with."""
    visited = {"source": "personal", "name": "visited", "view": "visit", "order_by": ["looked"], "limit": 4}
    covisit = {"source": "covisit", "view": "visit", "strength": "looked", "limit": 4}
    assert findings(PERSONAL, visited, covisit, filters=[{"filter": "seen", "view": "visit"}]) == []
    (found,) = findings(PERSONAL | {"view": "visit_total"})
    assert found.endswith("it has to be a view of user_id and item_id, or of session_id and item_id")

    def asked(name: str, *candidates: dict[str, Any]) -> list[str]:
        transform = RequestTransform("strength", (name,), ("s",), lambda inputs: inputs)
        wanted = FeatureSet("f", ("s",), ("strength:s",), (), (transform,))
        return list(request_findings(SHOP, wanted, "home", placement(candidates=candidates), "v3.yaml"))

    assert asked("sources", PERSONAL) == asked("covisit_score", PERSONAL, covisit | {"view": "pair"}) == []
    assert asked("covisit_score", PERSONAL, covisit)[0].startswith("v3.yaml: on-demand view strength reads covisit_sc")
    assert asked("sources", PERSONAL, visited)[0].startswith("v3.yaml: on-demand view strength reads sources of the")


MOMENT = SHOP.feature_set("moment")
VERSION = "registry/models/basket/v4.yaml"


def reading(**context: str) -> list[str]:
    """Return what is wrong with a version that reads the whole context of the shop."""
    return list(request_findings(SHOP, MOMENT, "home", placement(context=context), f"{VERSION}: feature_service"))


def test_what_features_read_of_a_context_is_declared_and_of_one_kind() -> None:
    assert reading(**CONTEXT) == []
    (missed,) = reading(**{name: kind for name, kind in CONTEXT.items() if name != "device"})
    assert missed.startswith(
        f"{VERSION}: feature_service: on-demand view moment reads device of the request; requests of placement home"
        " bring request_timestamp, sources, basket_value, since:"
    )
    (other,) = reading(**CONTEXT | {"basket_value": "text"})
    assert other == (
        f"{VERSION}: feature_service: on-demand view moment reads basket_value as a number; in the context of placement"
        " home it is a text: both must be of one kind"
    )


def test_a_context_has_no_name_of_a_feature() -> None:
    (found,) = reading(**CONTEXT, fits="number")
    assert found.endswith(
        "context fits of placement home: view moment has a column of that name: call one of them otherwise"
    )
    (found,) = findings(context={"brand": "text", "device": "text"})
    assert found == "context.brand: view item_week has a feature of that name: call it otherwise"


@pytest.mark.parametrize("name", ["user_id", "request_timestamp", "sources", "label", "session_id", "position"])
def test_a_context_has_no_name_of_a_column_of_requests(name: str) -> None:
    with pytest.raises(ValidationError, match=f"context: {name}: every request has a column of that name"):
        placement(context={name: "text"})


def test_a_context_has_no_name_of_a_sources_score_and_few_plain_names() -> None:
    covisit = {"source": "covisit", "view": "pair", "limit": 4}
    with pytest.raises(ValidationError, match="covisit_score"):
        placement(candidates=[covisit], context={"covisit_score": "number"})
    assert placement(context={"covisit_score": "number"}).context == {"covisit_score": "number"}
    for wrong in ({"Device": "text"}, {"device": "word"}, {f"c{number}": "text" for number in range(33)}):
        with pytest.raises(ValidationError, match="context"):
            placement(context=wrong)


def version(**changes: Any) -> ModelVersion:
    """Declare a version that reads the context of home."""
    declared = {
        "problem": "weekly_basket",
        "placement": "home",
        "feature_service": "moment",
        "algorithm": {"type": "catboost", "loss": "Logloss"},
        "negatives": {"source": "shown"},
        "gate": {"metric": "ndcg@10/user", "against": "champion"},
    }
    return ModelVersion.model_validate(declared | changes)


def test_a_version_that_learns_from_no_request_reads_no_context() -> None:
    home = placement(context=CONTEXT)
    assert list(learning_findings(MOMENT, version(), home, VERSION)) == []
    (found,) = learning_findings(MOMENT, version(negatives={"source": "candidates"}), home, VERSION)
    assert found.startswith(f"{VERSION}: negatives.source: candidates: moment reads device, basket_value, since of the")
    assert "learns from no request, so its context would always be unknown" in found
    ordered = version(negatives={"source": "candidates"}, algorithm={"type": "feature", "feature": "fits"})
    assert list(learning_findings(MOMENT, ordered, home, VERSION)) == []


def test_an_audience_brings_nothing_but_its_moment() -> None:
    assert list(selecting_findings(SHOP.feature_set("full"), VERSION)) == []
    found = list(selecting_findings(MOMENT, VERSION))
    assert [line.partition(" reads ")[2].partition(" ")[0] for line in found] == list(CONTEXT)
    assert found[0].startswith(f"{VERSION}: on-demand view moment reads device of the request; an audience is selected")


def test_wherever_a_version_may_answer_its_context_is_declared() -> None:
    def found(cart: Placement, model: str = "basket/v4", **reads: Any) -> list[str]:
        places = {"home": placement(context=CONTEXT), "cart": cart}
        return list(answering_findings(SHOP, Catalog(models={model: version(**reads)}, placements=places)))

    assert found(placement(context=CONTEXT)) == found(placement(model="other")) == []
    assert found(placement(), feature_service="sales") == found(placement(), feature_service="gone") == []
    (missed,) = found(placement(context=CONTEXT | {"device": "number"}))
    assert missed == (
        "registry/placements/cart.yaml: context: basket/v4 may answer here and reads device, a text, of the request, as"
        " its own placement home declares it: declare it here too"
    )
    assert len(found(placement())) == len(CONTEXT)
