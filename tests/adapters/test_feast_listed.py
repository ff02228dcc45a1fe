"""Does a reader see what was applied at its next question, without making Feast's objects anew at each?"""

from pathlib import Path

import pytest

from recsys.errors import FeatureError
from tests.adapters.contract_shop import apply, day, feast, written


def test_definitions_are_made_into_objects_once_a_version(tmp_path: Path) -> None:
    reader = feast(written(tmp_path))
    views, computed, services = reader._stored_views(), reader._computed_views(), reader._services()
    assert reader._stored_views() is views
    assert reader._computed_views() is computed
    assert reader._services() is services
    feast(tmp_path).materialize(day(4))  # Feast notes it with the view, in the same file
    assert reader._stored_views() is not views
    assert [len(view.materialization_intervals) for view in views] == [0] * len(views)
    assert all(view.materialization_intervals for view in reader._stored_views())


def test_what_is_applied_meanwhile_is_seen_at_the_next_question(tmp_path: Path) -> None:
    reader = feast(written(tmp_path))
    before = reader.feature_set("ranker")
    with pytest.raises(FeatureError, match="feature service 'visits': not declared"):
        reader.feature_set("visits")
    definitions = tmp_path / "contract_definitions.py"
    text = definitions.read_text().replace(
        '"item_stats", [item], timedelta(days=7)', '"item_stats", [item], timedelta(days=8)'
    )
    definitions.write_text(text + 'visits = FeatureService(name="visits", features=[user_stats[["visits"]]])\n')
    apply(tmp_path)
    assert reader.feature_set("visits").columns == ("visits",)
    assert reader.view("item_stats").ttl == day(9) - day(1)
    assert reader.feature_set("ranker").digest != before.digest
