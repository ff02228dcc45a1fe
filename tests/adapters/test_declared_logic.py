"""Does a digest change with the code that runs, and only with it?"""

from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from recsys.adapters.declared_logic import declared_tables, declared_transforms, normalized, transform_source
from recsys.errors import FeatureError

TRANSFORMS = '''"""What a week is."""

import math
from datetime import timedelta

WEEK_S = 7 * 86_400
UNUSED = 1
SCALE: float = 2.0


def _half(value):
    """Halve it."""
    return value / SCALE  # really


def _deep(value):
    return _half(value) + WEEK_S


class Unit:
    """Nobody uses it."""

    size = 3


def weekly(events, items):
    """Sum of a week."""

    def inner():
        """Also words."""
        return _deep(events)

    return inner()


def other(events, items):
    return items


TABLES = {"weekly": weekly, "other": other}
'''


def write(folder: Path, text: str = TRANSFORMS) -> Path:
    """Write a transforms.py."""
    folder.mkdir(exist_ok=True)
    path = folder / "transforms.py"
    path.write_text(text, encoding="utf-8")
    return path


def edited(folder: Path, old: str, new: str) -> tuple[str, str]:
    """Return the source of `weekly` before and after an edit."""
    assert old in TRANSFORMS
    before = transform_source(write(folder / "before"), "weekly")
    return before, transform_source(write(folder / "after", TRANSFORMS.replace(old, new)), "weekly")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Sum of a week."""', '"""Reworded."""'),
        ('    """Sum of a week."""\n', ""),
        ('        """Also words."""\n', ""),
        ('"""What a week is."""', ""),
        ("  # really", ""),
        ("def _deep(value):\n    return", "# deep\ndef _deep(\n    value,\n):\n\n    return"),
        ("7 * 86_400", "7 * 86400"),
        ("value / SCALE", "(value / SCALE)"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("return items", "return events"),
        ("    size = 3", "    size = 4"),
        ("TABLES = {", "LATER = 3\nTABLES = {"),
        ('"other": other', '"others": other'),
    ],
)
def test_words_formatting_and_code_out_of_reach_do_not_count(tmp_path: Path, old: str, new: str) -> None:
    before, after = edited(tmp_path, old, new)
    assert before == after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return inner()", "return inner() + 1"),
        ("return _deep(events)", "return _deep(items)"),
        ("value / SCALE", "value * SCALE"),  # two calls away
        ("7 * 86_400", "6 * 86_400"),  # a constant, reached by a helper
        ("SCALE: float = 2.0", "SCALE: float = 3.0"),
        ("def weekly(events, items)", "def weekly(events, items, more=UNUSED)"),
        ('"weekly": weekly', '"weekly": other'),
    ],
)
def test_code_within_reach_counts(tmp_path: Path, old: str, new: str) -> None:
    before, after = edited(tmp_path, old, new)
    assert before != after


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("from math import floor as cut\ndef f(e):\n    return cut(e)\n", "floor", "ceil"),
        ("import math as m\ndef f(e):\n    return m.pi\n", "import math", "import cmath"),
        ("A, B = 1, 2\ndef f(e):\n    return A\n", "1, 2", "3, 2"),
        ("A = 1\nA += 1\ndef f(e):\n    return A\n", "+= 1", "+= 2"),
    ],
    ids=["imported name", "imported module", "unpacked constant", "augmented constant"],
)
def test_names_count_however_they_are_bound(tmp_path: Path, text: str, old: str, new: str) -> None:
    tables = 'TABLES = {"f": f}\n'
    before = transform_source(write(tmp_path / "before", text + tables), "f")
    after = transform_source(write(tmp_path / "after", text.replace(old, new) + tables), "f")
    assert before != after


def test_tables_come_in_their_order(tmp_path: Path) -> None:
    assert list(declared_transforms(write(tmp_path))) == ["weekly", "other"]


def test_tables_may_say_what_they_are(tmp_path: Path) -> None:
    annotated = TRANSFORMS.replace("TABLES = {", "TABLES: dict[str, object] = {")
    assert declared_transforms(write(tmp_path, annotated)) == declared_transforms(write(tmp_path))


def test_a_table_that_is_no_plain_function_is_not_lost(tmp_path: Path) -> None:
    partial = TRANSFORMS.replace('"weekly": weekly', '"weekly": lambda events, items: weekly(events, items)')
    try:
        tables = list(declared_transforms(write(tmp_path, partial)))
    except FeatureError as error:
        assert "weekly" in str(error)  # noqa: PT017 - refused or kept, but never dropped in silence
    else:
        assert tables == ["weekly", "other"]


def test_an_unknown_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="TABLES has no 'daily'"):
        transform_source(write(tmp_path), "daily")


@pytest.mark.parametrize("text", ["x = 1", "TABLES = []", "def TABLES(): pass", "TABLES = {", ""])
def test_a_file_without_tables_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FeatureError, match=r"transforms\.py.*TABLES"):
        declared_transforms(write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"transforms\.py.*with TABLES"):
        declared_transforms(tmp_path / "transforms.py")


def test_a_function_of_words_alone_stays_a_function() -> None:
    assert normalized('def f():\n    """Words."""\n') == "def f():\n    pass"
    assert normalized("def f():\n    return 'text'  # a value") == "def f():\n    return 'text'"


DECLARED = """
KEYS: Mapping[str, tuple[str, ...]] = {"weekly": ("user_id",), "other": ["user_id", "item_id"]}
ACTIVE_PERIODS = {"weekly": 13, "other": 1}
PERIOD_DAYS = 7
"""


def test_a_table_says_its_keys_and_periods(tmp_path: Path) -> None:
    weekly, other = declared_tables(write(tmp_path, TRANSFORMS + DECLARED)).values()
    assert (weekly.name, weekly.keys, weekly.active_periods) == ("weekly", ("user_id",), 13)
    assert (other.name, other.keys, other.active_periods) == ("other", ("user_id", "item_id"), 1)
    assert weekly.period == other.period == timedelta(days=7)
    assert weekly.code == transform_source(tmp_path / "transforms.py", "weekly")


def test_the_shipped_tables_are_declared() -> None:
    module = Path(__file__).parents[2] / "feature_repo" / "transforms.py"
    assert {name: table.keys for name, table in declared_tables(module).items()} == {
        "user_weekly": ("user_id",),
        "item_weekly": ("item_id",),
        "user_item": ("user_id", "item_id"),
        "user_line": ("user_id", "line_id"),
        "user_category": ("user_id", "item_category"),
        "user_campaign": ("user_id",),
        "user_profile": ("user_id",),
        "session_item": ("session_id", "item_id"),
        "session_category": ("session_id", "item_category"),
    }
    streams = {name: table.events for name, table in declared_tables(module).items() if table.is_stream}
    assert streams == dict.fromkeys(("session_item", "session_category"), ("pageview", "click", "transfer"))


STREAM: Final = DECLARED.replace(', "other": 1}', "}") + 'STREAMS = {"other": ("click", "cart")}\n'


def test_a_stream_table_says_its_events_instead_of_periods(tmp_path: Path) -> None:
    before = declared_tables(write(tmp_path, TRANSFORMS + DECLARED))
    weekly, other = declared_tables(write(tmp_path, TRANSFORMS + STREAM)).values()
    assert (weekly.is_stream, weekly.events, weekly.code) == (False, (), before["weekly"].code)
    assert (other.is_stream, other.events) == (True, ("click", "cart"))
    # Other events are other features.
    assert other.code != before["other"].code
    more = declared_tables(write(tmp_path, TRANSFORMS + STREAM.replace('"cart"', '"cart", "view"')))
    assert more["other"].code != other.code


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ('"other": ("click", 1)', "STREAMS['other']"),
        ('"other": ()', "STREAMS['other']"),
        ('"others": ("click", "cart")', "STREAMS names 'others', which is not in TABLES"),
        ('"other": tuple("c")', "STREAMS is missing or not written out"),
    ],
)
def test_streams_that_say_something_else_are_refused(tmp_path: Path, new: str, said: str) -> None:
    text = STREAM.replace('"other": ("click", "cart")', new)
    with pytest.raises(FeatureError, match="STREAMS") as refused:
        declared_tables(write(tmp_path, TRANSFORMS + text))
    assert said in str(refused.value)


@pytest.mark.parametrize("name", ["KEYS", "ACTIVE_PERIODS", "PERIOD_DAYS"])
def test_a_constant_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    text = DECLARED.replace(name, "SOMETHING_ELSE")
    with pytest.raises(
        FeatureError, match=rf"transforms\.py: {name} is missing or not written out: it says .*plain val"
    ):
        declared_tables(write(tmp_path, TRANSFORMS + text))


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("= 7", "= int('7')", "PERIOD_DAYS"),
        ("= 7", "= '7'", "PERIOD_DAYS"),
        ("= 7", "= 7.0", "PERIOD_DAYS"),
        ("= 7", "= 0", "PERIOD_DAYS"),
        ("= 7", "= -7", "PERIOD_DAYS"),
        ("= 7", "= True", "PERIOD_DAYS"),
        ('{"weekly": 13, "other": 1}', "dict(weekly=13, other=1)", "ACTIVE_PERIODS"),
        ('{"weekly": 13, "other": 1}', '{"weekly": 13, "other": WEEK_S}', "ACTIVE_PERIODS"),
        ('{"weekly": 13, "other": 1}', "13", "ACTIVE_PERIODS"),
        ('{"weekly": 13, "other": 1}', "{}", "ACTIVE_PERIODS"),
        (
            '{"weekly": ("user_id",), "other": ["user_id", "item_id"]}',
            "{name: ('user_id',) for name in TABLES}",
            "KEYS",
        ),
        ('{"weekly": ("user_id",), "other": ["user_id", "item_id"]}', "('user_id',)", "KEYS"),
    ],
)
def test_a_constant_that_is_not_written_out_is_named(tmp_path: Path, old: str, new: str, name: str) -> None:
    """A file is read and not run: plain values only."""
    assert old in DECLARED
    with pytest.raises(FeatureError, match=rf"transforms\.py: {name} is missing or not written out"):
        declared_tables(write(tmp_path, TRANSFORMS + DECLARED.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"other": 1', '"others": 1', "ACTIVE_PERIODS says nothing of table 'other'"),
        ('"other": 1', '"other": 0', "ACTIVE_PERIODS"),
        ('"other": 1', '"other": "1"', "ACTIVE_PERIODS"),
        ('"other": 1', '"other": -1', "ACTIVE_PERIODS"),
        (', "other": ["user_id", "item_id"]', "", "KEYS says nothing of table 'other'"),
        ('["user_id", "item_id"]', "()", "KEYS"),
        ('["user_id", "item_id"]', '"user_id"', "KEYS"),
        ('["user_id", "item_id"]', "(1, 2)", "KEYS"),
    ],
)
def test_every_table_has_its_keys_and_periods(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A name alone is no tuple of names: it would be read letter by letter."""
    assert old in DECLARED
    with pytest.raises(FeatureError, match=rf"transforms\.py: {message}.*"):
        declared_tables(write(tmp_path, TRANSFORMS + DECLARED.replace(old, new)))


def test_tables_of_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"transforms\.py.*with TABLES"):
        declared_tables(tmp_path / "transforms.py")
