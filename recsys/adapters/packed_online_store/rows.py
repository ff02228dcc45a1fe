"""Which rows does a value hold, and what becomes of them when newer ones come?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from recsys.adapters.packed_online_store.backend import Backend, Key, Packed
from recsys.adapters.packed_online_store.columns import whole
from recsys.adapters.packed_online_store.layout import Layout, plain_key
from recsys.adapters.packed_online_store.packing import Codec, row_count, schema_id
from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError


@dataclass(frozen=True)
class Codecs:
    """The codecs of a process. A schema id is a digest, so one codec is right for every file and server."""

    _known: dict[bytes, Codec] = field(default_factory=dict)

    def of(self, schema: pa.Schema) -> Codec:
        """Return the codec to write a schema by."""
        codec = Codec(schema)
        return self._known.setdefault(codec.schema_id, codec)

    def by_id(self, backend: Backend, layout: Layout, identity: bytes) -> Codec:
        """Return the codec of a stored schema.

        Raises:
            FeatureError: the backend does not know it.
        """
        codec = self._known.get(identity)
        if codec is None:
            schema = backend.schema(layout.place, identity)
            if schema is None:
                message = (
                    f"{backend.name}: a value of feature view {layout.view!r} names schema {identity.hex()}, which is "
                    "not on file: the store is damaged; delete it and materialize again"
                )
                raise FeatureError(message)
            codec = self._known.setdefault(identity, Codec(pa.ipc.read_schema(pa.py_buffer(schema))))
        return codec


@dataclass(frozen=True)
class Rows:
    """Reads and packs the rows of one view."""

    backend: Backend
    codecs: Codecs
    layout: Layout

    def decode(self, payloads: Sequence[bytes], names: Sequence[str] | None = None) -> pa.Table:
        """Rows of the payloads in order, under the layout's columns (or those of `names`)."""
        parts = []
        ends = [i for i, (a, b) in enumerate(pairwise(payloads), 1) if schema_id(a) != schema_id(b)]
        for start, end in pairwise([0, *ends, len(payloads)]):
            if some := payloads[start:end]:
                codec = self.codecs.by_id(self.backend, self.layout, schema_id(some[0]))
                parts.append(codec.decode(some, names))
        if not parts:
            columns = self.layout.names if names is None else names
            return pa.table({name: pa.nulls(0, self.layout.declared_type(name)) for name in columns})
        return self._concat(parts, names)

    def columns(self, payload: bytes) -> Mapping[str, np.ndarray]:
        """Rows of one payload under the layout's columns, as a request reads them."""
        stored = self.codecs.by_id(self.backend, self.layout, schema_id(payload)).columns(payload)
        if all(name in stored for name in self.layout.names):
            return stored
        aligned = self.decode([payload])  # written before a feature was added to the view
        return {name: to_numpy(aligned[name]) for name in self.layout.names}

    def newest(self, payloads: Sequence[bytes]) -> np.ndarray:
        """Event time of the newest row of each payload, in microseconds."""
        event = self.decode(payloads, [self.layout.event]).column(self.layout.event).cast(pa.int64()).to_numpy()
        starts = np.cumsum([0, *(row_count(payload) for payload in payloads[:-1])])
        newest: np.ndarray = np.maximum.reduceat(event, starts)
        return newest

    def single(self, rows: pa.Table, keys: list[Key] | None = None) -> Packed:
        """Pack one row a key, in order."""
        codec = self.codecs.of(rows.schema)
        event, created = self.layout.clocks(rows)
        return Packed(
            keys=self.layout.group_keys(rows) if keys is None else keys,
            payloads=codec.encode(rows, range(rows.num_rows + 1)),
            event=event,
            created=created,
            schema_id=codec.schema_id,
            schema=codec.schema.serialize().to_pybytes(),
            fresh=np.ones(rows.num_rows, np.int64),
        )

    def merging(self, rows: pa.Table) -> tuple[list[Key], Callable[[Sequence[Key], Mapping[Key, bytes]], Packed]]:
        """Return the groups that rows belong to, and what merges the rows of some groups into their old values."""
        codes = _codes(rows, self.layout.keys[0])
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        places = np.split(order, starts[1:])
        firsts = rows.column(self.layout.keys[0]).take(pa.array(order[starts])).to_pylist()
        of_group = dict(zip((plain_key(key) for key in firsts), places, strict=True))

        def pack(groups: Sequence[Key], old: Mapping[Key, bytes]) -> Packed:
            some = rows
            if len(groups) < len(of_group):
                some = rows.take(pa.array(np.concatenate([of_group[group] for group in groups])))
            return self._merged(self.decode(list(old.values())), some)

        return list(of_group), pack

    def _merged(self, old: pa.Table, new: pa.Table) -> Packed:
        """Pack the newest row of each entity by group."""
        both = self._concat([old, new]) if old.num_rows else new
        order, starts = self._newest(both)
        kept = both.take(pa.array(order))
        codec = self.codecs.of(kept.schema)
        event, created = self.layout.clocks(kept)
        groups = kept.take(pa.array(starts)).column(self.layout.keys[0]).to_pylist()
        return Packed(
            keys=[plain_key(group) for group in groups],
            payloads=codec.encode(kept, [*starts.tolist(), len(order)]),
            event=np.maximum.reduceat(event, starts),
            created=np.maximum.reduceat(created, starts),
            schema_id=codec.schema_id,
            schema=codec.schema.serialize().to_pybytes(),
            fresh=np.add.reduceat((order >= old.num_rows).astype(np.int64), starts),
        )

    def _newest(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the newest row of each entity by group, and where each group starts."""
        codes = [_codes(rows, key) for key in self.layout.keys]
        event, created = self.layout.clocks(rows)
        # lexsort is stable and its last key leads: at equal clocks the row written last comes last and
        # wins.
        order = np.lexsort((created, event, *reversed(codes)))
        sorted_codes = [code[order] for code in codes]
        changes = np.zeros(len(order), dtype=bool)
        for code in sorted_codes:
            changes[1:] |= code[1:] != code[:-1]
        last = np.append(changes[1:], [True])
        groups = sorted_codes[0][last]
        starts = np.flatnonzero(np.append([True], groups[1:] != groups[:-1]))
        return order[last], starts

    def _concat(self, parts: Sequence[pa.Table], names: Sequence[str] | None = None) -> pa.Table:
        try:
            whole = pa.concat_tables(parts, promote_options="permissive") if parts[1:] else parts[0]
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            message = (
                f"feature view {self.layout.view!r}: stored and new rows disagree about a type: {error}: "
                "give the column one type, or drop the view with `feast teardown` and materialize again"
            )
            raise FeatureError(message) from error
        return self.layout.align(whole) if names is None else whole


def _codes(rows: pa.Table, key: str) -> np.ndarray:
    """Number the values of a key column, equal values alike, as int32."""
    codes: np.ndarray = whole(rows.column(key)).dictionary_encode().indices.to_numpy()
    return codes
