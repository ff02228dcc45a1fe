"""Is every logged answer made again from the past as it was given, and is one that was not found out?"""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.errors import DataError, ModelError
from recsys.ports import Exposure
from recsys.workflows.requests.why import Explaining, why
from recsys.workflows.requests.why_document import document
from recsys.workflows.serving.resolvers import FixedClock, known_units, resolver_for
from recsys.workflows.workspace import Workspace

WEEK = datetime(2017, 12, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def exposures(replayed: Workspace) -> list[Exposure]:
    """All answers of one week of the replay."""
    shown = replayed.event_log.exposures("home", WEEK, WEEK + timedelta(days=7))
    found = [replayed.event_log.request(request) for request in shown["request_id"].to_pylist()]
    return [each for each in found if each is not None]


def test_every_answer_of_a_week_is_made_again(replayed: Workspace, exposures: list[Exposure]) -> None:
    again = Explaining(replayed)
    assert len(exposures) > 50
    assert {each.model_version for each in exposures} == {"basket/v1", "basket/v2"}
    for each in exposures:
        found = again.why(each)
        assert found.as_of == WEEK
        assert found.digest_equal, each.request_id
        assert found.items_equal, each.request_id
        assert found.arm_now == each.arm


def test_what_was_not_served_so_is_found_out(replayed: Workspace, exposures: list[Exposure]) -> None:
    again = Explaining(replayed)
    mine = next(each for each in exposures if each.model_version == "basket/v2")
    assert mine.model_version
    assert not again.why(replace(mine, feature_digest="0" * 16)).digest_equal
    # Another household's list under this one's name.
    other = next(each.user_id for each in exposures if each.user_id != mine.user_id)
    assert not again.why(replace(mine, user_id=other)).digest_equal
    items = [replace(mine.items[0], score=mine.items[0].score + 1e-6), *mine.items[1:]]
    assert not again.why(replace(mine, items=items)).items_equal
    before = {name: (WEEK - timedelta(days=7)).isoformat() for name in mine.watermarks}
    assert not again.why(replace(mine, watermarks=before)).digest_equal
    with pytest.raises(ModelError, match="weights 99 of model basket"):
        again.why(replace(mine, weights=99))


def test_a_logged_row_is_compared_column_by_column(shop: Workspace) -> None:
    resolver = resolver_for(shop, "for_you", clock=FixedClock(shop.clock.now()), experiments={})
    resolver._ladder._feature_rows = 1.0
    resolver.refresh()
    user = known_units(shop, "for_you", shop.clock.now())[5]
    shown = resolver.recommend(user, request_id="with-its-row", k=7).exposure
    assert shown.features is not None
    assert {len(values) for values in shown.features.values()} == {7}
    shop.event_log.write_exposures([shown])
    found = why(shop, "with-its-row", shap=True)
    assert found.digest_equal
    assert found.items_equal
    assert not found.differing
    column = next(name for name, values in shown.features.items() if isinstance(values[0], float))
    tampered = {**shown.features, column: [1e9, *shown.features[column][1:]]}
    again = Explaining(shop).why(replace(shown, features=tampered))
    assert dict(again.differing) == {column: 1}


def test_contributions_and_a_constant_make_the_score(shop: Workspace) -> None:
    resolver = resolver_for(shop, "home", experiments={})
    resolver.refresh()
    shown = resolver.recommend(known_units(shop, "home", shop.clock.now())[0]).exposure
    weights = next(each for each in shop.registry.search("basket") if each.version == "v2")
    found = Explaining(shop).why(replace(shown, model_version="basket/v2", weights=weights.number), shap=True)
    assert found.explanation is not None
    constants = [each.item.score - sum(each.contributions.values()) for each in found.explanation.items]
    np.testing.assert_allclose(constants, constants[0], atol=1e-6)


def test_the_command_explains_and_refuses(replayed: Workspace, exposures: list[Exposure]) -> None:
    mine = next(each for each in exposures if each.model_version == "basket/v2")
    command = [sys.executable, "-m", "recsys", "why", mine.request_id]
    text = subprocess.run(command, cwd=replayed.root, capture_output=True, text=True, check=True).stdout
    assert f"arm: {mine.arm} of home_ranker, by its bucket; the same by today's declaration" in text
    assert "features: recomputed at the watermark 2017-12-11 00:00, digest equal" in text
    assert "list: the same items and scores again" in text
    told = document(why(replayed, mine.request_id))
    assert json.loads(json.dumps(told))["recomputed"]["items_equal"] is True
    with pytest.raises(DataError, match="no request of this id"):
        why(replayed, "unheard-of")
