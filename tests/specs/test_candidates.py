"""Are sources and filters that contradict themselves refused, and does every source have a name of its own?"""

from typing import Any

import pytest
from pydantic import ValidationError

from recsys.specs.candidates import label
from recsys.specs.environment import Limits
from recsys.specs.placement import Placement

PERSONAL = {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 3}
POPULAR = {"source": "popular", "order_by": "sales", "limit": 4}
COVISIT = {"source": "covisit", "view": "pair", "limit": 3}
EASE = {"source": "ease", "name": "linear", "view": "other", "limit": 3}
NEWEST = {"source": "newest", "order_by": "since", "within": "7d", "limit": 3}
GIVEN = {"source": "given", "limit": 3}


def placement(*candidates: dict[str, Any], **changes: Any) -> Placement:
    """Declare a placement of these sources."""
    declared = {
        "problem": "p",
        "model": "m",
        "k": 3,
        "pool": {"view": "items", "feature": "sales"},
        "candidates": candidates,
    }
    return Placement.model_validate(declared | changes)


def test_a_source_is_called_by_its_type_unless_it_has_a_name() -> None:
    declared = placement(PERSONAL, COVISIT, EASE, new_units=[POPULAR, GIVEN])
    assert [label(source) for source in declared.sources] == ["personal", "covisit", "linear", "popular", "given"]
    assert declared.score_columns == ("covisit_score", "linear_score")
    assert declared.takes_list
    assert not placement(PERSONAL).takes_list


def test_the_views_that_tell_of_a_unit_are_named_once() -> None:
    declared = placement(PERSONAL, COVISIT, EASE, POPULAR, filters=[{"filter": "seen", "view": "third"}])
    assert declared.history_views == ("pair", "other", "third")


@pytest.mark.parametrize(
    ("candidates", "new_units"),
    [([POPULAR, POPULAR], []), ([POPULAR], [POPULAR]), ([EASE, COVISIT | {"name": "linear"}], [])],
)
def test_two_sources_of_one_name_are_refused(candidates: list[dict[str, Any]], new_units: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match=r"more than one source is named (popular|linear): names are unique"):
        placement(*candidates, new_units=new_units)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (POPULAR | {"by": "kind"}, "by and per_value belong together"),
        (POPULAR | {"per_value": 3}, "by and per_value belong together"),
        (POPULAR | {"name": "Best sellers"}, "string_pattern_mismatch|pattern"),
        (NEWEST | {"within": "soon"}, "a duration is a whole number and a unit"),
        (COVISIT | {"l2": 3.0}, "extra_forbidden|Extra inputs"),
        (EASE | {"l2": 0.0}, "greater than 0"),
        (COVISIT | {"minimum": 0}, "greater than or equal to 1"),
        (COVISIT | {"limit": 0}, "greater than or equal to 1"),
        ({"source": "random", "limit": 3}, "does not match any of the expected tags"),
    ],
)
def test_a_source_that_contradicts_itself_is_refused(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        placement(source)


def test_a_new_unit_has_no_history_to_draw_from() -> None:
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        placement(PERSONAL, new_units=[COVISIT])


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        ({"filter": "seen", "view": "pair", "by": "last"}, "by and within belong together"),
        ({"filter": "seen", "view": "pair", "within": "7d"}, "by and within belong together"),
        ({"filter": "seen", "view": "pair", "by": "last", "within": "0d"}, "within is a length of time above 0"),
        ({"filter": "items"}, "allow or deny: neither is given"),
        ({"filter": "values", "feature": "kind"}, "allow or deny: neither is given"),
        ({"filter": "price"}, "does not match any of the expected tags"),
    ],
)
def test_a_filter_that_says_nothing_or_half_is_refused(filter_: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        placement(PERSONAL, filters=[filter_])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3GB", 3_000_000_000),
        ("512MiB", 512 * 2**20),
        ("1.5 GB", 1_500_000_000),
        ("64KB", 64_000),
        ("100B", 100),
        ("1TiB", 2**40),
    ],
)
def test_memory_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert Limits(memory=text).memory_bytes == expected


@pytest.mark.parametrize("text", ["much", "3", "GB", "80%", "-3GB"])
def test_memory_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Limits(memory=text)
