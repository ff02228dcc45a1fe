"""Is what a request says refused where it is wrong, and the same value for a candidate as for a training row?"""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.candidates.pool import to_numpy, unknown
from recsys.errors import ContextError, FeatureError, ModelError
from recsys.modeling.clocks import same_values
from recsys.modeling.context import (
    LARGEST_NUMBER,
    LONGEST_TEXT,
    Said,
    broadcast,
    checked,
    learned_from,
    plain,
    read_of,
    remembered,
    said_column,
    stated,
    with_unknown,
)
from recsys.ports import FeatureSet, RequestTransform
from recsys.specs.model import ModelVersion

KINDS: Final = {"device": "text", "basket_value": "number", "since": "time"}
NOON: Final = datetime(2024, 2, 5, 12, tzinfo=UTC)

values: Final = st.fixed_dictionaries(
    {},
    optional={
        "device": st.text(
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=LONGEST_TEXT
        ),
        "basket_value": st.floats(-LARGEST_NUMBER, LARGEST_NUMBER) | st.integers(-(10**15), 10**15),
        "since": st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.timezones()),  # noqa: DTZ001 - the zone is drawn
    },
)


@given(said=values, count=st.integers(0, 5))
def test_a_training_row_has_what_every_candidate_of_its_request_had(said: dict[str, Any], count: int) -> None:
    """By way of the log, in JSON; what was not said is unknown in both."""
    read = checked(KINDS, said)
    online = broadcast(stated(KINDS, read), count)
    logged = remembered(KINDS, json.loads(json.dumps(plain(read))))
    assert logged == read
    assert list(online) == list(KINDS)
    for name, kind in KINDS.items():
        offline = to_numpy(said_column(kind, [logged.get(name)] * count))
        assert online[name].dtype == offline.dtype == unknown(kind, 1).dtype
        assert same_values(online[name], offline).all()
        if name not in said:
            assert same_values(online[name], unknown(kind, count)).all()


@given(said=values)
def test_no_zero_has_a_sign(said: dict[str, Any]) -> None:
    value = checked(KINDS, said | {"basket_value": -0.0})["basket_value"]
    assert math.copysign(1, float(value)) == 1  # type: ignore[arg-type] # a number


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("colour", "red", "not declared in the placement's context; declared: device, basket_value, since"),
        ("device", 3, "a text of 1 to 256 characters"),
        ("device", None, "a text of 1 to 256 characters"),
        ("device", "", "a text of 1 to 256 characters"),
        ("device", "x" * 257, "a text of 1 to 256 characters"),
        ("device", "nul\0", "without the character 0"),
        ("device", "half \ud800", "a text of"),
        ("basket_value", "31.5", "a number from -1e+15 to 1e+15"),
        ("basket_value", True, "a number"),
        ("basket_value", math.nan, "a number"),
        ("basket_value", math.inf, "a number"),
        ("basket_value", 10**400, "a number"),
        ("since", "yesterday", "an ISO time with its offset"),
        ("since", "2024-02-05T12:00:00", "an ISO time with its offset"),
        ("since", "2024-02-05", "an ISO time with its offset"),
        ("since", datetime(2024, 2, 5), "an ISO time with its offset"),  # noqa: DTZ001 - which is the point
        ("since", "0001-01-01T00:00:00+14:00", "an ISO time with its offset"),
        ("since", 1_707_134_400, "an ISO time with its offset"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name_and_without_its_value(name: str, value: object, rule: str) -> None:
    with pytest.raises(ContextError) as refused:
        checked(KINDS, {"device": "phone", name: value})
    assert refused.value.name == name
    assert rule in refused.value.rule
    assert str(refused.value) == f"context.{name}: {refused.value.rule}"
    assert isinstance(refused.value, FeatureError)


def test_a_time_is_read_in_utc_whatever_its_offset() -> None:
    offset = timezone(timedelta(hours=2))
    for said in ("2024-02-05T12:00:00Z", "2024-02-05T14:00:00+02:00", NOON, NOON.astimezone(offset)):
        assert checked(KINDS, {"since": said}) == {"since": NOON}
    assert plain({"since": NOON}) == {"since": "2024-02-05T12:00:00+00:00"}


def test_of_a_logged_request_counts_what_is_declared_as_it_was() -> None:
    logged = {"device": "phone", "basket_value": 3.0, "gone": "x"}
    now = {"device": "number", "basket_value": "number"}
    assert remembered(now, logged) == {"basket_value": 3.0}


def test_rows_of_no_request_say_nothing() -> None:
    rows = with_unknown(pa.table({"user_id": ["u1", "u2"], "device": ["phone", "unknown"]}), KINDS)
    assert rows["device"].to_pylist() == ["phone", "unknown"]
    assert np.isnan(to_numpy(rows["basket_value"])).all()
    assert rows["since"].null_count == 2
    assert with_unknown(rows, {}) is rows
    assert len(with_unknown(rows.slice(0, 0), {"page": "text"})) == 0


def test_numbers_texts_and_times_are_columns_of_equal_values() -> None:
    said: Said = {"device": "phone", "basket_value": 3.5, "since": NOON}
    columns = broadcast(stated(KINDS, said), 2)
    assert columns["device"].tolist() == ["phone", "phone"]
    assert columns["basket_value"].tolist() == [3.5, 3.5]
    assert columns["since"].tolist() == [NOON.replace(tzinfo=None)] * 2


def _reading(*names: str) -> FeatureSet:
    transform = RequestTransform("moment", names, ("out",), lambda inputs: inputs)
    return FeatureSet("f", ("out",), ("moment:out",), (), (transform,))


def _version(**changes: Any) -> ModelVersion:
    declared = {
        "problem": "p",
        "placement": "home",
        "feature_service": "f",
        "algorithm": {"type": "catboost", "loss": "Logloss"},
        "gate": {"metric": "ndcg@10/user", "against": "champion"},
    }
    return ModelVersion.model_validate(declared | changes)


def test_who_learns_from_no_request_learns_of_no_context() -> None:
    reads, other = _reading("sold", "device"), _reading("sold")
    assert read_of(KINDS, reads, other) == {"device": "text"}
    with pytest.raises(ModelError, match=r"model version basket/v9: negatives.source: candidates: f reads device of"):
        learned_from("basket/v9", _version(), KINDS, reads, reads)
    shown = _version(negatives={"source": "shown"})
    assert learned_from("basket/v9", shown, KINDS, reads, _reading("since")) == {"device": "text", "since": "time"}
    by_feature = _version(algorithm={"type": "feature", "feature": "out"})
    assert learned_from("basket/v9", by_feature, KINDS, reads, reads) == {"device": "text"}
    assert learned_from("basket/v9", _version(), KINDS, other, reads) == {"device": "text"}  # a baseline learns nothing
    assert learned_from("basket/v9", _version(), {}, reads, reads) == {}
