"""How are packed values kept on a Redis server?

Two hashes a feature view, below `<prefix><project>:`. `rows:<view>` keeps a value a key: 16 bytes, then the payload;
and the view's join keys, so that a read is one command. `view:<view>` keeps schemas, watermark and generation.

The 16 bytes make writers safe against each other. Of a view with one row a value they are the row's clocks, and the
server itself keeps the newer one. Of a view with groups they are a random revision, and the server replaces a group
only if its revision is the one that was merged. A script writes hundreds of values at once, each as a whole; a kill
between two scripts leaves some values old and some new, and the same write again completes it.
"""

import json
import os
import random
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recsys.adapters.packed_online_store.backend import Backend, Kept, Key, Newest, Pack, Packed, Place
from recsys.adapters.packed_online_store.probe import probed
from recsys.adapters.packed_online_store.redis_checks import NEEDED, redis_findings
from recsys.adapters.packed_online_store.redis_client import failures
from recsys.adapters.packed_online_store.redis_scripts import EXPIRE, HEAD, JOIN_KEYS, MERGE, WRITE
from recsys.errors import FeatureError
from recsys.ports import Finding

if TYPE_CHECKING:
    from redis import Redis

ROWS_A_CALL: Final = 1000
GROUPS_A_CALL: Final = 200
KEYS_A_READ: Final = 2000
BYTES_A_CALL: Final = 4_000_000
"""A script that writes more at once would let other clients wait."""
ATTEMPTS: Final = 200
_CLOCKS: Final = struct.Struct(">qq")


class RedisBackend(Backend):
    """One server, shared by all threads of a process."""

    def __init__(self, client: "Redis", prefix: str) -> None:
        """Keep everything below a prefix; nothing is sent yet."""
        self._client = client
        self._prefix = prefix
        options = client.connection_pool.connection_kwargs
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self.name = f"online store redis {where}, database {options.get('db') or 0}, prefix {prefix!r}"
        self._write = client.register_script(WRITE)
        self._merge = client.register_script(MERGE)
        self._expire = client.register_script(EXPIRE)

    # -- reading

    def patient(self, seconds: float | None) -> AbstractContextManager[None]:
        """Let what this thread reads in the block end within so many seconds."""
        from recsys.adapters.packed_online_store.redis_patience import patience

        return patience(seconds)

    def kept(self, place: Place) -> Kept:
        """Return what is known of a view."""
        with failures(self.name, "read"), self._client.pipeline(transaction=False) as pipeline:
            pipeline.hget(self._rows(place), JOIN_KEYS)
            pipeline.hmget(self._view(place), ["schema", "watermark", "generation"])
            join_keys, (schema, watermark, generation) = pipeline.execute()
        # Without its rows, which a server may have evicted, what is known of a view counts for nothing.
        newest = None if watermark is None or join_keys is None else _CLOCKS.unpack(watermark)[0]
        return Kept(_keys(join_keys), schema, newest, int(generation or 0))

    def schema(self, place: Place, schema_id: bytes) -> bytes | None:
        """Return a schema that a payload names, serialised."""
        with failures(self.name, "read"):
            found: bytes | None = self._client.hget(self._view(place), b"schema:" + schema_id)  # type: ignore[assignment] # of bytes, as the client decodes nothing
        return found

    def read(self, place: Place, keys: Sequence[Key]) -> tuple[tuple[str, ...] | None, dict[Key, bytes]]:
        """Return what the view's values are kept under, and those of `keys` that are there."""
        join_keys, found = self._values(place, keys)
        return join_keys, {key: value[HEAD:] for key, value in found.items()}

    def read_each(self, wanted: Sequence[tuple[Place, Key]]) -> list[tuple[tuple[str, ...] | None, bytes | None]]:
        """Return what the values of each view are kept under, and that of one key of it: all in one round trip."""
        with failures(self.name, "read"), self._client.pipeline(transaction=False) as pipeline:
            for place, key in wanted:
                pipeline.hmget(self._rows(place), [JOIN_KEYS, _field(key)])
            found = pipeline.execute()
        return [(_keys(join_keys), None if value is None else value[HEAD:]) for join_keys, value in found]

    def read_all(self, place: Place) -> tuple[tuple[str, ...] | None, list[bytes]]:
        """Return what the view's values are kept under, and all of them, each as a whole, in the order of keys.

        A write meanwhile may be seen in some of them; the generation tells, read before and after.
        """
        values: dict[bytes, bytes] = {}
        cursor = -1
        with failures(self.name, "read"):
            while cursor:
                cursor, page = self._client.hscan(self._rows(place), max(cursor, 0), count=KEYS_A_READ)
                values.update(page)  # type: ignore[arg-type] # of bytes, as the client decodes nothing
        join_keys = _keys(values.pop(JOIN_KEYS, None))
        return join_keys, [values[field][HEAD:] for field in sorted(values)]

    # -- writing

    def create(self, place: Place) -> None:
        """Say what a view's values are kept under; values kept under other join keys are forgotten."""
        known = self.kept(place).join_keys
        with failures(self.name, "written"), self._client.pipeline(transaction=True) as pipeline:
            if known is not None and set(known) != set(place.join_keys):
                pipeline.unlink(self._rows(place), self._view(place))
            pipeline.hsetnx(self._rows(place), JOIN_KEYS, json.dumps(place.join_keys))
            pipeline.execute()

    def write(self, place: Place, packed: Packed) -> int:
        """Write one row a key where it is not older than the stored one; return how many were."""
        clocks = np.stack([packed.event, packed.created], axis=1).astype(">i8").tobytes()
        values = (
            part
            for i, (key, payload) in enumerate(zip(packed.keys, packed.payloads, strict=True))
            for part in (_field(key), clocks[i * HEAD : (i + 1) * HEAD] + payload)
        )
        head, written = self._head(place, packed), 0
        with failures(self.name, "written"):
            while some := list(islice(values, 2 * ROWS_A_CALL)):
                written += int(self._write(keys=self._names(place), args=[*head, *some]))
        return written

    def merge(self, place: Place, groups: Sequence[Key], pack: Pack) -> int:
        """Replace the values of groups by what `pack` makes of them; return how many entities got a new row."""
        return sum(
            self._merge_some(place, groups[start : start + GROUPS_A_CALL], pack)
            for start in range(0, len(groups), GROUPS_A_CALL)
        )

    def expire(self, place: Place, before: int, newest: Newest) -> int:
        """Forget the values whose newest row is of before a time, unless they were written meanwhile."""
        cursor, gone = -1, 0
        with failures(self.name, "written"):
            while cursor:
                page: dict[bytes, bytes]
                cursor, page = self._client.hscan(self._rows(place), max(cursor, 0), count=KEYS_A_READ)  # type: ignore[assignment] # of bytes, as the client decodes nothing
                page.pop(JOIN_KEYS, None)
                if not page:
                    continue
                ended = newest([value[HEAD:] for value in page.values()]) < before
                heads = [
                    part
                    for (field, value), over in zip(page.items(), ended, strict=True)
                    if over
                    for part in (field, value[:HEAD])
                ]
                if heads:
                    gone += int(self._expire(keys=self._names(place), args=heads))
        return gone

    def erase(self, place: Place, keys: Sequence[Key]) -> None:
        """Delete the values of `keys`."""
        if self.kept(place).join_keys is None or not keys:
            return
        with failures(self.name, "written"), self._client.pipeline(transaction=True) as pipeline:
            pipeline.hdel(self._rows(place), *map(_field, keys))
            pipeline.hincrby(self._view(place), "generation", 1)
            pipeline.execute()

    def drop(self, place: Place) -> None:
        """Forget a view."""
        with failures(self.name, "written"):
            self._client.unlink(self._rows(place), self._view(place))

    def forget(self) -> None:
        """Forget everything below the prefix."""
        literal = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in self._prefix)
        with failures(self.name, "written"):
            for key in self._client.scan_iter(match=f"{literal}*", count=KEYS_A_READ):
                self._client.unlink(key)

    def findings(self) -> Iterator[Finding]:
        """Say what there is to know of the server, and whether rows can be written to it, read and deleted."""
        takes_writes = True
        for finding in redis_findings(self._client, self.name):
            takes_writes = takes_writes and not (finding.name in NEEDED and finding.status == "failed")
            yield finding
        if takes_writes:
            yield from probed(self)

    # -- inside

    def _merge_some(self, place: Place, groups: Sequence[Key], pack: Pack) -> int:
        written = 0
        for attempt in range(ATTEMPTS):
            _, old = self._values(place, groups)
            packed = pack(groups, {key: value[HEAD:] for key, value in old.items()})
            lost = self._replace(place, packed, [old.get(key, b"")[:HEAD] for key in packed.keys])
            written += int(packed.fresh.sum()) - int(packed.fresh[lost].sum())
            if not lost:
                return written
            groups = [packed.keys[i] for i in lost]
            time.sleep(random.uniform(0, 0.001 * min(attempt, 20)))  # noqa: S311 -- no secret: writers step aside
        message = (
            f"{self.name} cannot be written: feature view {place.view!r}: others changed {len(groups)} groups at each"
            f" of {ATTEMPTS} attempts: let fewer processes write the same keys, and write again"
        )
        raise FeatureError(message)

    def _replace(self, place: Place, packed: Packed, expected: Sequence[bytes]) -> list[int]:
        """Replace groups whose revision is the expected one, else say which of them were not."""
        head, lost = self._head(place, packed), []
        start = size = 0
        for end, payload in enumerate(packed.payloads, 1):
            size += len(payload)
            if size >= BYTES_A_CALL or end == len(packed.payloads):
                values = (
                    (_field(packed.keys[i]), expected[i], os.urandom(HEAD) + packed.payloads[i])
                    for i in range(start, end)
                )
                with failures(self.name, "written"):
                    numbers = self._merge(keys=self._names(place), args=[*head, *chain.from_iterable(values)])
                lost += [start + number for number in numbers]
                start, size = end, 0
        return lost

    def _values(self, place: Place, keys: Sequence[Key]) -> tuple[tuple[str, ...] | None, dict[Key, bytes]]:
        """Return what the view's values are kept under, and the values that are there, heads included."""
        found: dict[Key, bytes] = {}
        join_keys: bytes | None = None
        with failures(self.name, "read"):
            for start in range(0, max(len(keys), 1), KEYS_A_READ):
                some = keys[start : start + KEYS_A_READ]
                values: list[Any] = self._client.hmget(self._rows(place), [JOIN_KEYS, *map(_field, some)])
                join_keys = values[0]
                found.update((key, value) for key, value in zip(some, values[1:], strict=True) if value is not None)
        return _keys(join_keys), found

    def _head(self, place: Place, packed: Packed) -> list[bytes | str | int]:
        newest = _CLOCKS.pack(int(packed.event.max()), 0)
        # A view that was dropped and made anew must not come by the generations that it had before.
        return [json.dumps(place.join_keys), packed.schema_id, packed.schema, newest, time.time_ns() // 1000]

    def _names(self, place: Place) -> list[str]:
        return [self._rows(place), self._view(place)]

    def _rows(self, place: Place) -> str:
        return f"{self._prefix}{place.project}:rows:{place.view}"

    def _view(self, place: Place) -> str:
        return f"{self._prefix}{place.project}:view:{place.view}"


def _field(key: Key) -> bytes:
    """Return a key as a hash's field, with its kind: the text 5 is not the number 5."""
    if isinstance(key, str):
        return b"s" + key.encode()
    return b"b" + key if isinstance(key, bytes) else b"i%d" % key


@cache
def _keys(text: bytes | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))
