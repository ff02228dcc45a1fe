"""Does a version's file read as before but for the settings of its algorithm, whatever its layout is?"""

import string
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recsys.workflows.modeling.tuned_file import with_settings

SETTINGS: Final = {"depth": 8, "learning_rate": 0.0312, "l2_leaf_reg": 12.5}

BLOCK: Final = """\
# What it is.
problem: weekly_basket   # a problem
algorithm:
  type: catboost  # trees
  depth: 6        # of each
  categorical: [item_department]
  learning_rate: 1.0e-1

gate: {metric: ndcg@10/user, against: popularity}   # at the end
"""


def test_comments_order_and_layout_stay() -> None:
    assert with_settings(BLOCK, SETTINGS) == BLOCK.replace(
        "  type: catboost  # trees\n", "  type: catboost  # trees\n  l2_leaf_reg: 12.5\n"
    ).replace("depth: 6 ", "depth: 8 ").replace("1.0e-1", "0.0312")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (
            "algorithm: {type: catboost, depth: 6}  # one line\ngate: g\n",
            "algorithm: {type: catboost, learning_rate: 0.0312, l2_leaf_reg: 12.5, depth: 8}  # one line\ngate: g\n",
        ),
        ("gate: g\nalgorithm:\n    type: catboost", None),  # at the very end, without a new line
        ("gate: g\nalgorithm:\n  depth: 6\n  categorical:\n  - a\n  - b\n  type: 'catboost'\n", None),
        (
            "base: &base {type: catboost, depth: 6}\nalgorithm: *base\n",
            None,
        ),  # an edit in place would change `base` too
        ("algorithm:\n  type: catboost\n  loss: >-\n    Logloss\nname: Łódź\n", None),
        ('{"algorithm": {"type": "catboost", "depth": 6}, "gate": "g"}', None),
    ],
)
def test_any_layout_reads_as_it_should(text: str, written: str | None) -> None:
    edited = with_settings(text, SETTINGS)
    before = yaml.safe_load(text)
    assert yaml.safe_load(edited) == before | {"algorithm": before["algorithm"] | SETTINGS}
    if written is not None:
        assert edited == written


names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
values = st.one_of(st.integers(-99, 99), st.floats(1e-6, 1e6), names, st.lists(names, max_size=3), st.none())


@given(
    st.dictionaries(names, values, max_size=4),
    st.dictionaries(names, values, max_size=4),
    st.dictionaries(names, st.one_of(st.integers(1, 200), st.floats(1e-6, 1e6)), min_size=1, max_size=4),
    st.sampled_from([None, True, False]),
)
def test_whatever_was_declared_stays(
    others: dict[str, Any], algorithm: dict[str, Any], settings: dict[str, Any], flow: bool | None
) -> None:
    fields = others | {"algorithm": {"type": "catboost"} | algorithm}
    text = yaml.safe_dump(fields, default_flow_style=flow, sort_keys=False)
    kept = {name: value for name, value in settings.items() if name != "type"}
    edited = with_settings(text, kept)
    assert yaml.safe_load(edited) == fields | {"algorithm": fields["algorithm"] | kept}
