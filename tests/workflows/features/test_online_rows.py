"""Is it noticed that an online store holds less than was written to it?"""

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.errors import FeatureError, OnlineStoreError
from recsys.workflows.exclusive import write_by_rename
from recsys.workflows.features.online_rows import lost_views, marker_path, online_finding, watermarks

WRITTEN = {"user_weekly": "2024-01-08T00:00:00+00:00", "item_weekly": "2024-01-15T00:00:00+00:00"}


class Store:
    """Tells watermarks; what it does not know is no view."""

    def __init__(self, **known: str | None) -> None:
        """Know the watermarks of views; None of one without rows."""
        self.known = known

    def watermark(self, view: str) -> datetime | None:
        if view not in self.known:
            message = f"feature view {view!r}: not declared"
            raise FeatureError(message)
        moment = self.known[view]
        return None if moment is None else datetime.fromisoformat(moment)


class Down(Store):
    """Is not there."""

    def watermark(self, view: str) -> datetime | None:
        raise OnlineStoreError(view)


def workspace(tmp_path: Path, store: Store) -> Any:
    return SimpleNamespace(state=tmp_path, features=store)


def test_what_stands_online_is_noted_by_view(tmp_path: Path) -> None:
    store = Store(user_weekly=WRITTEN["user_weekly"], session_item=None)
    assert watermarks(workspace(tmp_path, store), ["user_weekly", "session_item", "a_table_without_view"]) == {
        "user_weekly": WRITTEN["user_weekly"]
    }


@pytest.mark.parametrize(
    ("known", "lost"),
    [
        (WRITTEN, []),
        (WRITTEN | {"item_weekly": "2024-02-01T00:00:00+00:00"}, []),  # another build went on
        (WRITTEN | {"item_weekly": "2024-01-08T00:00:00+00:00"}, ["item_weekly"]),  # an older copy was restored
        (WRITTEN | {"item_weekly": None}, ["item_weekly"]),
        ({"user_weekly": None, "item_weekly": None}, ["user_weekly", "item_weekly"]),
        ({"item_weekly": WRITTEN["item_weekly"]}, ["user_weekly"]),  # its view has gone with the registry
    ],
)
def test_views_that_are_older_or_gone_are_lost(tmp_path: Path, known: dict[str, str | None], lost: list[str]) -> None:
    found = workspace(tmp_path, Store(**known))
    assert lost_views(found, {"online": WRITTEN}) == lost
    assert lost_views(found, {}) == []  # written by an earlier version
    write_by_rename(marker_path(found), {"until": "2024-01-15", "online": WRITTEN})
    (said,) = online_finding(found)
    assert said.status == ("failed" if lost else "ok")
    assert all(view in said.found for view in lost)


def test_a_store_that_was_never_filled_is_a_warning_and_one_that_is_down_no_loss(tmp_path: Path) -> None:
    (said,) = online_finding(workspace(tmp_path, Store()))
    assert said.status == "warning"
    with pytest.raises(OnlineStoreError):
        lost_views(workspace(tmp_path, Down()), {"online": WRITTEN})
