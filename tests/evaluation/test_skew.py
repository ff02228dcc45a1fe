"""Does the comparison of logged rows name each cause by what gives the logged value, and nothing where all agree?"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.skew.causes import Cause
from recsys.evaluation.skew.comparison import compare
from recsys.evaluation.skew.rows import Logged, ViewRows
from recsys.modeling.clocks import RULES
from recsys.ports import Columns, FeatureSet, RequestTransform, ViewInfo
from recsys.schema import REQUEST_TIMESTAMP

PAIR = ViewInfo("pair", ("user_id", "item_id"), ("times", "colour"), {"times": "number", "colour": "text"}, None)
USER_VIEW = ViewInfo("user", ("user_id",), ("baskets",), {"baskets": "number"}, timedelta(days=7))
SHARE = RequestTransform(
    "rhythm", ("times", "baskets"), ("share",), lambda read: {"share": read["times"] / read["baskets"]}
)
FEATURES = FeatureSet(
    "all", ("times", "colour", "share"), ("pair:times", "pair:colour", "rhythm:share"), (PAIR, USER_VIEW), (SHARE,)
)
NOW = np.array(["2024-01-08T12"] * 2, dtype="datetime64[us]")


def pair(times: list[float], colour: tuple[str, str] = ("red", "blue")) -> dict[str, Any]:
    """Return the columns of the view by user and item, two rows."""
    return {"times": np.array(times, dtype=float), "colour": np.array(colour, dtype=object)}


def baskets(*values: float) -> dict[str, Any]:
    """Return the column of the view by user."""
    return {"baskets": np.array(values, dtype=float)}


def rows(due: Columns, **other: Any) -> ViewRows:
    """Return a view of which every assumption gives the same, but for those that are given."""
    return replace(ViewRows(due, due, due, due, due, np.zeros(2, dtype=bool), [None, None]), **other)


def logged(times: list[float], share: list[float], views: dict[str, ViewRows] | None = None, **changed: str) -> Logged:
    """Return two logged rows: by the tables 4 and 6 times in 8 and 12 baskets."""
    return Logged(
        features=FEATURES,
        columns={**pair(times), "share": np.array(share)},
        views={"pair": rows(pair([4, 6])), "user": rows(baskets(8, 12))} | (views or {}),
        brought={REQUEST_TIMESTAMP: NOW},
        changed={name: (said,) for name, said in changed.items()},
        requests=["r1", "r2"],
        rows=["the first row", "the second row"],
    )


def causes(of: Logged) -> set[tuple[Cause, str, str]]:
    """Return what was found: cause, view, feature."""
    return {(each.cause, each.view, each.feature) for each in compare([of]).findings}


def test_rows_that_agree_have_no_finding() -> None:
    found = compare([logged([4, 6], [0.5, 0.5]), logged([4, 6], [0.5, 0.5])])
    assert (found.requests, found.rows, found.skewed_rows, found.findings) == (2, 4, 0, ())
    assert compare([]).skewed_share == 0


def test_a_value_of_the_logged_watermark_is_late_and_so_is_what_is_computed_from_it() -> None:
    views = {"pair": rows(pair([4, 6]), online=pair([3, 6]))}
    found = compare([logged([3, 6], [0.375, 0.5], views)])
    assert [(each.cause, each.view, each.feature, each.rows) for each in found.findings] == [
        (Cause.LATE, "pair", "share", 1),
        (Cause.LATE, "pair", "times", 1),
    ]
    assert (found.skewed_rows, found.skewed_share) == (1, 0.5)
    assert found.findings[1].example == "the first row: 3, should be 4"


def test_a_view_that_only_computed_features_read_is_named_as_late() -> None:
    views = {"user": rows(baskets(8, 12), online=baskets(5, 12))}
    assert causes(logged([4, 6], [0.8, 0.5], views)) == {(Cause.LATE, "user", "share")}


def test_an_older_row_of_the_table_is_late_though_the_watermark_does_not_tell() -> None:
    known_later = rows(pair([4, 6]), origin=[RULES[0], None], newer=np.array([True, False]))
    late = {(Cause.LATE, "pair", "times"), (Cause.LATE, "pair", "share")}
    assert causes(logged([2, 6], [0.25, 0.5], {"pair": known_later})) == late
    by_chance = replace(known_later, newer=np.zeros(2, dtype=bool))
    rewritten = {(Cause.RESTATED, "pair", "times"), (Cause.RESTATED, "pair", "share")}
    assert causes(logged([2, 6], [0.25, 0.5], {"pair": by_chance})) == rewritten


def test_a_row_past_its_ttl_that_was_served_is_of_the_ttl() -> None:
    gone = pair([np.nan, 6], ("unknown", "blue"))
    views = {"pair": rows(gone, endless=pair([4, 6]), online=gone)}
    found = causes(logged([4, 6], [0.5, 0.5], views, pair="ttl 2w, now 1w"))
    assert found == {(Cause.TTL, "pair", name) for name in ("times", "colour", "share")}


def test_a_row_within_todays_ttl_that_was_not_served_is_of_the_ttl() -> None:
    of = logged([4, 6], [np.nan, 0.5], user="ttl 1d, now 1w")
    (finding,) = compare([of]).findings
    assert (finding.cause, finding.view, finding.feature) == (Cause.TTL, "user", "share")
    assert finding.detail == "ttl 1d, now 1w"


def test_what_no_row_gives_is_of_a_change_where_one_is_known() -> None:
    assert causes(logged([4, 6], [1.0, 0.5], rhythm="code")) == {(Cause.CHANGED, "rhythm", "share")}
    assert causes(logged([9, 6], [9 / 8, 0.5], pair="its table's code")) == {
        (Cause.CHANGED, "pair", "times"),
        (Cause.CHANGED, "pair", "share"),
    }


def test_what_no_row_gives_and_nobody_changed_is_of_a_table_that_was_rewritten() -> None:
    found = compare([logged([9, 6], [9 / 8, 0.5])])
    assert {(each.cause, each.view) for each in found.findings} == {(Cause.RESTATED, "pair")}
    assert (found.skewed_rows, found.restated_rows) == (0, 1)


def test_a_computed_value_that_its_inputs_do_not_give_is_unexplained() -> None:
    found = compare([logged([4, 6], [0.5, 7.0])])
    assert [(each.cause, each.view, each.feature) for each in found.findings] == [
        (Cause.UNEXPLAINED, "rhythm", "share")
    ]
    assert found.skewed_rows == 1


def test_a_value_that_was_right_and_is_otherwise_today_is_restated() -> None:
    views = {"user": rows(baskets(8, 12), today=baskets(8, 10))}
    found = compare([logged([4, 6], [0.5, 0.5], views)])
    assert [(each.cause, each.view, each.example) for each in found.findings] == [
        (Cause.RESTATED, "user", "the second row: 0.5, known today as 0.6")
    ]
    assert (found.skewed_rows, found.restated_rows, found.restated_share) == (0, 1, 0.5)


@given(st.floats(1, 1e12), st.sampled_from([1 + 1e-12, 1 + 1e-6]))
def test_the_last_digits_of_a_number_are_no_difference(value: float, factor: float) -> None:
    views = {"pair": rows(pair([value, 6]))}
    found = causes(logged([value * factor, 6], [value / 8, 0.5], views))
    assert bool(found) == (factor > 1 + 1e-9)


def test_texts_are_compared_as_texts() -> None:
    of = logged([4, 6], [0.5, 0.5])
    of = replace(of, columns={**of.columns, "colour": np.array(["red", "unknown"], dtype=object)})
    (finding,) = compare([of]).findings
    assert (finding.cause, finding.feature) == (Cause.UNEXPLAINED, "colour")
    assert finding.example == "the second row: unknown, should be blue"


# ---------------------------------------------------------------- several causes at once


def test_two_views_that_were_late_are_both_named_for_what_is_computed_from_both() -> None:
    views = {
        "pair": rows(pair([4, 6]), online=pair([3, 6]), stood=pair([3, 6])),
        "user": rows(baskets(8, 12), online=baskets(5, 12), stood=baskets(5, 12)),
    }
    found = compare([logged([3, 6], [0.6, 0.5], views)])
    late = {("pair", "times"), ("pair", "share"), ("user", "share")}
    assert {(each.cause, each.view, each.feature) for each in found.findings} == {(Cause.LATE, *each) for each in late}
    assert found.skewed_rows == 1


def test_only_the_views_but_for_which_a_feature_would_be_right_are_named() -> None:
    """Of two late views a function reads both, and one of its features needs the one alone."""
    twice = RequestTransform(
        "rhythm",
        ("times", "baskets"),
        ("share", "double"),
        lambda read: {"share": read["times"] / read["baskets"], "double": 2 * read["times"]},
    )
    views = {
        "pair": rows(pair([4, 6]), online=pair([3, 6])),
        "user": rows(baskets(8, 12), online=baskets(5, 12)),
    }
    of = logged([3, 6], [0.6, 0.5], views)
    features = replace(FEATURES, columns=(*FEATURES.columns, "double"), transforms=(twice,))
    of = replace(of, features=features, columns={**of.columns, "double": np.array([6.0, 12.0])})
    assert {each.view for each in compare([of]).findings if each.feature == "double"} == {"pair"}


def test_a_late_view_and_another_past_its_ttl_are_both_named() -> None:
    views = {
        "pair": rows(pair([4, 6]), online=pair([3, 6]), stood=pair([3, 6])),
        "user": rows(baskets(np.nan, 12), endless=baskets(8, 12), stood=baskets(8, 12)),
    }
    found = causes(logged([3, 6], [3 / 8, 0.5], views, user="ttl 2w, now 1w"))
    late = {(Cause.LATE, "pair", "times"), (Cause.LATE, "pair", "share")}
    assert found == {*late, (Cause.TTL, "user", "share")}


def test_a_late_row_that_was_past_its_ttl_too_is_late() -> None:
    gone = pair([np.nan, 6], ("unknown", "blue"))
    views = {"pair": rows(pair([4, 6], ("green", "blue")), online=gone, stood=pair([3, 6]))}
    found = compare([logged([3, 6], [3 / 8, 0.5], views)])
    assert {(each.cause, each.view) for each in found.findings} == {(Cause.LATE, "pair")}


def test_a_changed_function_and_a_late_view_are_each_named_where_they_show() -> None:
    views = {"pair": rows(pair([4, 6]), online=pair([3, 6]), stood=pair([3, 6]))}
    found = causes(logged([3, 6], [2 * 3 / 8, 2 * 0.5], views, rhythm="code"))
    assert found == {(Cause.LATE, "pair", "times"), (Cause.CHANGED, "rhythm", "share")}


def test_a_change_of_the_ttl_alone_does_not_explain_a_value_that_no_row_has() -> None:
    found = causes(logged([9, 6], [9 / 8, 0.5], pair="ttl 2w, now 1w"))
    assert {(cause, view) for cause, view, _ in found} == {(Cause.RESTATED, "pair")}


def test_views_that_were_restated_together_are_all_named() -> None:
    views = {
        "pair": rows(pair([4, 6]), today=pair([2, 6])),
        "user": rows(baskets(8, 12), today=baskets(16, 12)),
    }
    found = compare([logged([4, 6], [0.5, 0.5], views)])
    assert {(each.cause, each.view) for each in found.findings if each.feature == "share"} == {
        (Cause.RESTATED, "pair"),
        (Cause.RESTATED, "user"),
    }
    assert (found.skewed_rows, found.restated_rows) == (0, 1)


def test_a_row_that_was_late_in_one_view_and_restated_in_another_counts_as_both() -> None:
    views = {
        "pair": rows(pair([4, 6]), today=pair([4, 6], ("black", "blue"))),
        "user": rows(baskets(8, 12), online=baskets(5, 12)),
    }
    found = compare([logged([4, 6], [0.8, 0.5], views)])
    assert {(each.cause, each.view) for each in found.findings} == {(Cause.RESTATED, "pair"), (Cause.LATE, "user")}
    assert (found.skewed_rows, found.restated_rows) == (1, 1)
