"""Buckets equal GrowthBook's, and the vectorised path equals the scalar one."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ExperimentError
from recsys.experiment.bucketing import BUCKETS, bucket, buckets

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "growthbook_hash.json"
CASES = ROOT.parent / "shared" / "data" / "growthbook_cases.json"

encodable = st.text(st.characters(exclude_categories=["Cs"]))
any_text = st.text(st.characters())


def test_equals_golden_vectors() -> None:
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert [bucket(case["seed"], case["unit"]) for case in cases] == [case["bucket"] for case in cases]
    for seed in {case["seed"] for case in cases}:
        of_seed = [case for case in cases if case["seed"] == seed]
        expected = [case["bucket"] for case in of_seed]
        assert buckets(seed, [case["unit"] for case in of_seed]).tolist() == expected


def test_equals_published_cases() -> None:
    if not CASES.exists():
        pytest.skip("GrowthBook's cases are not beside this checkout")
    cases = json.loads(CASES.read_text(encoding="utf-8"))["hash"]
    version_2 = [(seed, unit, share) for seed, unit, version, share in cases if version == 2]
    assert version_2
    for seed, unit, share in version_2:
        assert bucket(seed, unit) / BUCKETS == share
        assert buckets(seed, [unit])[0] / BUCKETS == share


@settings(deadline=None)
@given(any_text, st.lists(any_text))
def test_vector_equals_scalar(seed: str, units: list[str]) -> None:
    result = buckets(seed, units)
    assert result.dtype == np.int32
    assert result.tolist() == [bucket(seed, unit) for unit in units]


@settings(deadline=None)
@given(encodable, st.lists(encodable, min_size=1), st.data())
def test_arrow_layouts_agree(seed: str, units: list[str], data: st.DataObject) -> None:
    expected = [bucket(seed, unit) for unit in units]
    first = data.draw(st.integers(0, len(units)))
    plain = pa.array(units, pa.string())
    layouts = (
        plain,
        pa.array(units, pa.large_string()),
        pa.array(units, pa.string_view()),
        plain.dictionary_encode(),
        pa.chunked_array([plain[:first], plain[first:]]),
    )
    for layout in layouts:
        assert buckets(seed, layout).tolist() == expected
    assert buckets(seed, plain[first:]).tolist() == expected[first:]


def test_many_chunks_of_mixed_lengths() -> None:
    units = [f"{'é' if number % 5_000 == 0 else 'u'}{number}" for number in range(40_000)]
    assert buckets("s:", pa.array(units)).tolist() == [bucket("s:", unit) for unit in units]


def test_short_hashes_take_no_leading_zeros() -> None:
    # These ids hash to fewer than six digits in the first round.
    short = [unit for unit in (f"u{number}" for number in range(200_000)) if _first_round("s:" + unit) < 100_000]
    assert short
    assert buckets("s:", short).tolist() == [bucket("s:", unit) for unit in short]


def test_empty_input() -> None:
    assert buckets("s:", []).tolist() == []
    assert buckets("s:", pa.chunked_array([], pa.string())).tolist() == []
    assert buckets("s:", ["", ""]).tolist() == [bucket("s:", "")] * 2


@pytest.mark.parametrize("units", [pa.array(["a", None]), ["a", None], [1, 2], pa.array([1, 2])])
def test_refuses_what_is_no_id(units: pa.Array) -> None:
    with pytest.raises(ExperimentError, match=r"null|text"):
        buckets("s:", units)


def test_is_uniform() -> None:
    shares = (
        np.bincount(buckets("uniform:", [f"u{number}" for number in range(200_000)]) // 1_000, minlength=10) / 200_000
    )
    assert np.abs(shares - 0.1).max() < 0.004


def _first_round(text: str) -> int:
    state = 0x811C9DC5
    for byte in text.encode():
        state = ((state ^ byte) * 0x01000193) % 2**32
    return state
