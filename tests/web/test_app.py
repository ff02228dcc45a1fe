"""Does a caller's own list of items reach the resolver, and is one that nobody takes refused?"""

from fastapi.testclient import TestClient

from recsys.web.app import create_app
from tests.serving.test_resolver import world


def test_a_callers_items_are_ranked_where_a_source_takes_them_and_refused_where_none_does() -> None:
    takes = world(changes={"candidates": [{"source": "given", "limit": 3}]})
    plain = world()
    app = create_app({"given": takes.resolver, "home": plain.resolver}, len, poll_seconds=60)
    with TestClient(app) as client:
        asked = {"user_id": "u1", "k": 9, "candidates": ["d", "nobody", "a"]}
        answer = client.post("/v1/recommend", json={"placement": "given", **asked})
        assert answer.status_code == 200
        assert [item["item_id"] for item in answer.json()["items"]] == ["a", "d"]
        refused = client.post("/v1/recommend", json={"placement": "home", **asked})
        assert refused.status_code == 422
        assert "none of the placement's sources takes them" in refused.json()["detail"]
        too_long = {"placement": "given", "user_id": "u1", "candidates": ["a"] * 10_001}
        assert client.post("/v1/recommend", json=too_long).status_code == 422
