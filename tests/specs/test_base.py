"""Are durations and moments read the way people write them, and written so that they can be read?"""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from recsys.errors import SpecError
from recsys.specs.base import Duration, Moment, format_duration, parse_duration, parse_moment, read_moment
from recsys.specs.traffic import to_buckets

EXAMPLES = settings(deadline=None, derandomize=True)

DURATION = TypeAdapter(Duration)
MOMENT = TypeAdapter(Moment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("0d", timedelta(0)),
        (" 7 d ", timedelta(days=7)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected
    assert DURATION.validate_python(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "1.5d", "7 days", "7D", "7d 3h", "P7D", "7y", None, 7, True, []])
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValidationError, match=r"one of ms, s, m, h, d, w \(7d\)"):
        DURATION.validate_python(text)


def test_a_duration_beyond_all_measure_is_refused_like_any_other() -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python("99999999999999w")


@EXAMPLES
@given(st.integers(0, 10**9))
def test_durations_can_be_read_back(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration
    assert DURATION.validate_json(DURATION.dump_json(duration)) == duration


@EXAMPLES
@given(st.integers(1, 10**6), st.sampled_from("smhdw"))
def test_what_is_declared_is_written_in_the_largest_unit(number: int, unit: str) -> None:
    declared = parse_duration(f"{number}{unit}")
    written = format_duration(declared)
    assert parse_duration(written) == declared
    assert int(written[:-1]) <= number


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2017-12-04", datetime(2017, 12, 4, tzinfo=UTC)),
        (date(2017, 12, 4), datetime(2017, 12, 4, tzinfo=UTC)),
        ("2017-12-04T06:00:00Z", datetime(2017, 12, 4, 6, tzinfo=UTC)),
        ("2017-12-04 06:00", datetime(2017, 12, 4, 6, tzinfo=UTC)),
        ("2017-12-04T06:00:00+02:00", datetime(2017, 12, 4, 4, tzinfo=UTC)),
        (datetime(2017, 12, 4, 6), datetime(2017, 12, 4, 6, tzinfo=UTC)),  # noqa: DTZ001 - the case
        (datetime(2017, 12, 4, 6, tzinfo=timezone(timedelta(hours=-5))), datetime(2017, 12, 4, 11, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(given_: object, expected: datetime) -> None:
    moment = MOMENT.validate_python(given_)
    assert moment == expected
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["", "soon", "2017-13-01", "04.12.2017", 20171204.5, None, [], True])
def test_anything_else_is_no_moment(text: object) -> None:
    with pytest.raises(ValidationError, match=r"a moment is a date \(2017-12-04\)"):
        MOMENT.validate_python(text)


@EXAMPLES
@given(
    st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - the zone is another strategy's
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.timezones() | st.none(),
    )
)
def test_moments_can_be_read_back(moment: datetime) -> None:
    read = parse_moment(moment)
    assert parse_moment(read.isoformat()) == read
    assert MOMENT.validate_json(MOMENT.dump_json(read)) == read


def test_a_moment_given_by_hand_is_named_when_it_is_none() -> None:
    assert read_moment("2017-12-04") == datetime(2017, 12, 4, tzinfo=UTC)
    with pytest.raises(SpecError, match=r"^yesterday: a moment is a date"):
        read_moment("yesterday")


@EXAMPLES
@given(st.integers(0, 10_000))
def test_every_four_digit_share_is_its_buckets(buckets: int) -> None:
    assert to_buckets(buckets / 10_000) == buckets


@pytest.mark.parametrize("share", [0.00005, 0.12345, 1 / 3])
def test_finer_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="finer than 1/10,000"):
        to_buckets(share)
