"""Of which answers are the features kept beside them, and how do the files of a batch hold them?

Whose features are kept is told by the request's id alone: a retry is of the sample too, and a larger share has all that
a smaller one has.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

CONTACTS: Final = 200
"""So many contacts of a campaign keep their features, if it has them: as many as `recsys skew` looks at by default. A
share of a list of a few hundred units would be nobody, and a contact is one row where a list of items is ten."""


def sampled(request_id: str, share: float) -> bool:
    """Tell whether a request is of a sample."""
    if not 0 < share < 1:
        return share >= 1
    return _drawn(request_id) < share * 2**64


def sampled_contacts(request_ids: Sequence[str], share: float) -> list[int]:
    """Return the places of a campaign's contacts that keep their features: the share of them, and not too few.

    Args:
        request_ids: of all contacts.
        share: of requests; 0 keeps none.
    """
    if not share:
        return []
    numbers = [_drawn(each) for each in request_ids]
    count = max(CONTACTS, sum(number < share * 2**64 for number in numbers))
    return sorted(sorted(range(len(numbers)), key=numbers.__getitem__)[:count])


def slot_texts(features: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return plain feature values as one JSON object a slot, which is how the files of a batch hold them."""
    return [
        json.dumps(dict(zip(features, values, strict=True)), separators=(",", ":"))
        for values in zip(*features.values(), strict=True)
    ]


def from_slot_texts(texts: Sequence[str | None]) -> Mapping[str, Sequence[Any]] | None:
    """Return the plain feature values of the slots of one list that have some; None where none has."""
    slots = [json.loads(text) for text in texts if text is not None]
    return {name: [slot[name] for slot in slots] for name in slots[0]} if slots else None


def _drawn(request_id: str) -> int:
    """Return a request's number of 64 bits: whichever share was sampled, those of the smallest numbers were."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8, person=b"features").digest(), "big")
