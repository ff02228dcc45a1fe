"""Is a sample told by the requests' ids alone, of the share that is asked for, and never too small for a campaign?"""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from recsys.serving.feature_sample import CONTACTS, from_slot_texts, sampled, sampled_contacts, slot_texts

shares = st.floats(0, 1)
REQUESTS = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(2_000)]
values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3))


@given(st.text(), shares, shares)
def test_a_larger_share_has_all_of_a_smaller_one(request_id: str, one: float, other: float) -> None:
    smaller, larger = sorted([one, other])
    assert sampled(request_id, larger) or not sampled(request_id, smaller)
    assert sampled(request_id, 1)
    assert not sampled(request_id, 0)


def test_so_many_are_of_a_sample_as_its_share_says() -> None:
    """Within four standard deviations of the binomial distribution."""
    for share in (0.01, 0.1, 0.5):
        count = sum(sampled(each, share) for each in REQUESTS)
        assert abs(count - share * len(REQUESTS)) < 4 * (len(REQUESTS) * share * (1 - share)) ** 0.5


@given(st.integers(0, len(REQUESTS)), shares)
def test_contacts_keep_the_share_and_not_too_few(units: int, share: float) -> None:
    requests = REQUESTS[:units]
    chosen = sampled_contacts(requests, share)
    of_share = {place for place, each in enumerate(requests) if sampled(each, share)}
    assert chosen == sorted(set(chosen))
    if share == 0:
        assert chosen == []
    else:
        assert of_share <= set(chosen)
        assert len(chosen) == max(len(of_share), min(CONTACTS, units))


@given(st.dictionaries(st.text(max_size=4), st.lists(values, min_size=3, max_size=3), min_size=1), st.booleans())
def test_what_a_file_holds_is_read_as_it_was(features: dict[str, list[object]], pinned: bool) -> None:
    texts = slot_texts(features)
    assert len(texts) == 3
    assert from_slot_texts([*([None] * pinned), *texts]) == features
    assert from_slot_texts([None, None]) is None
