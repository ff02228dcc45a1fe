"""Can rows be written to an online store, read and deleted? `recsys doctor` tries it, in a project of its own."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from recsys.adapters.packed_online_store.backend import Backend, Packed, Place
from recsys.errors import FeatureError
from recsys.ports import Finding

SCHEMA: Final = b"doctor"
"""The id of what the probe's values say they are; a place that keeps schemas by themselves has to forget it."""
_NAME: Final = "online store: rows"


def probed(backend: Backend) -> Iterator[Finding]:
    """Write a row and a group, read them and delete them; nothing of it stays."""
    place = Place(f"doctor-{uuid.uuid4().hex}", "probe", ("probe_id",))
    clock = np.array([1], np.int64)
    packed = Packed(["probe"], [b"written"], clock, clock, SCHEMA, b"none", clock)
    try:
        try:
            backend.create(place)
            backend.write(place, packed)
            backend.merge(place, ["group"], lambda *_: replace(packed, keys=["group"], payloads=[b"merged"]))
            _, found = backend.read(place, ["probe", "group"])
        finally:
            backend.drop(place)
    except FeatureError as error:
        yield Finding(_NAME, "failed", str(error))
        return
    if found != {"probe": b"written", "group": b"merged"}:
        advice = "let nothing else write or delete keys there: a cache's own settings or another program may"
        yield Finding(_NAME, "failed", f"what was written is not what was read: {sorted(found)}", advice)
        return
    yield Finding(_NAME, "ok", "written, read and deleted")
