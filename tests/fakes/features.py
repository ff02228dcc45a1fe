"""What is a feature store, in memory and by brute force?"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys import schema
from recsys.candidates.pool import columns_of, to_numpy
from recsys.errors import FeatureError
from recsys.ports import ErasedOnline, FeatureSet, Groups, RequestTransform, UnitColumns, ViewInfo
from recsys.specs.catalog import digest

Row = dict[str, Any]

_CLOCKS: Final = (schema.EVENT_TIMESTAMP, schema.CREATED_TIMESTAMP)


class FakeFeatures:
    """`ports.FeatureReader` over tables of rows; every answer looks at every row."""

    def __init__(
        self,
        views: Iterable[ViewInfo],
        tables: Mapping[str, pa.Table],
        services: Mapping[str, Sequence[str]] | None = None,
        transforms: Iterable[RequestTransform] = (),
        pushed: Iterable[str] | None = None,
    ) -> None:
        """Hold the offline rows; nothing is online yet.

        Args:
            views: their definitions.
            tables: view to its rows: join keys, features, event_timestamp and created_timestamp (UTC).
            services: feature service to its `view:feature` references.
            transforms: what is computed at request time, from features and request_timestamp.
            pushed: views that rows can be pushed to; all by default.
        """
        self._views = {view.name: view for view in views}
        self._schemas = {
            view.name: pa.schema(
                [tables[view.name].schema.field(name) for name in (*view.join_keys, *view.features, *_CLOCKS)]
            )
            for view in self._views.values()
        }
        self._rows: dict[str, list[Row]] = {name: tables[name].to_pylist() for name in self._views}
        self._services = dict(services or {})
        self._transforms = {transform.name: transform for transform in transforms}
        self._online: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in self._views}
        self._generations: dict[str, int] = dict.fromkeys(self._views, 0)
        self._pushed = frozenset(self._views if pushed is None else pushed)
        self._ending = frozenset(pushed or ())

    # ------------------------------------------------------------ definitions

    def view(self, name: str) -> ViewInfo:
        """Describe one stored view."""
        if name not in self._views:
            message = f"feature view {name!r}: not declared; known: {', '.join(sorted(self._views))}"
            raise FeatureError(message)
        return self._views[name]

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a service by name, or a list of references."""
        if isinstance(name, str) and name not in self._services:
            message = f"feature service {name!r}: not declared; known: {', '.join(sorted(self._services))}"
            raise FeatureError(message)
        references = tuple(self._services[name] if isinstance(name, str) else name)
        views: dict[str, ViewInfo] = {}
        transforms: dict[str, RequestTransform] = {}
        for reference in references:
            owner, _, feature = reference.partition(":")
            if owner in self._views and feature in self._views[owner].features:
                views[owner] = self._views[owner]
            elif owner in self._transforms and feature in self._transforms[owner].outputs:
                transforms[owner] = self._transforms[owner]
                views |= self._read_by(transforms[owner])
            else:
                message = f"feature {reference!r}: no such feature"
                raise FeatureError(message)
        return FeatureSet(
            name=name if isinstance(name, str) else "+".join(name),
            columns=tuple(reference.partition(":")[2] for reference in references),
            references=references,
            views=tuple(views.values()),
            transforms=tuple(transforms.values()),
            digest=digest([references, [repr(view) for view in views.values()], sorted(transforms)]),
        )

    def _read_by(self, transform: RequestTransform) -> dict[str, ViewInfo]:
        return {name: view for name, view in self._views.items() if set(view.features) & set(transform.inputs)}

    # ------------------------------------------------------------ offline

    def historical(self, entities: pa.Table, features: FeatureSet) -> pa.Table:
        """Join features to entity rows as known at each row's time."""
        asked = entities.to_pylist()
        read = {name: self._joined(entities, asked, view, name) for view in features.views for name in view.features}
        for reference in features.references:  # of two views with one name of feature, the one that is asked for
            owner, _, name = reference.partition(":")
            if owner in self._views:
                read[name] = self._joined(entities, asked, self._views[owner], name)
        given = {name: entities[name] for name in entities.column_names}
        for transform in features.transforms:
            inputs = {name: to_numpy({**read, **given}[name]) for name in transform.inputs}
            outputs = transform.function(inputs)
            read |= {name: pa.array(values) for name, values in outputs.items()}
        joined = entities
        for name in features.columns:
            if name not in entities.column_names:
                joined = joined.append_column(name, read[name])
        return joined

    def _joined(self, entities: pa.Table, asked: Sequence[Row], view: ViewInfo, feature: str) -> pa.Array:
        if feature in entities.column_names:  # a join key of another view: the entity rows hold its value
            return entities[feature].combine_chunks()
        found = [self._as_known(view, row) for row in asked]
        return pa.array([row and row[feature] for row in found], self._schemas[view.name].field(feature).type)

    def _as_known(self, view: ViewInfo, entity: Row) -> Row | None:
        at, key = entity[schema.EVENT_TIMESTAMP], _key(view, entity)
        if at is None or None in key:
            return None
        newest = _newest(row for row in self._known(view, at) if _key(view, row) == key)
        return newest if newest is not None and _live(view, newest, at) else None

    def _known(self, view: ViewInfo, at: datetime) -> list[Row]:
        return [
            row
            for row in self._rows[view.name]
            if None not in _key(view, row) and all(row[clock] is not None and row[clock] <= at for clock in _CLOCKS)
        ]

    def snapshot(self, view: str, as_of: datetime, features: Sequence[str] | None = None) -> pa.Table:
        """Return every entity's newest live row as known at a moment."""
        declared = self.view(view)
        rows = [row for row in self._newest_each(declared, as_of).values() if _live(declared, row, as_of)]
        kept = [name for name in declared.features if features is None or name in features]
        table = pa.Table.from_pylist(rows, schema=self._schemas[view])
        return table.select([*declared.join_keys, *kept, schema.EVENT_TIMESTAMP])

    def _newest_each(self, view: ViewInfo, at: datetime) -> dict[tuple[Any, ...], Row]:
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self._known(view, at):
            groups.setdefault(_key(view, row), []).append(row)
        return {key: max(rows, key=_clocks) for key, rows in groups.items()}

    # ------------------------------------------------------------ online

    def materialize(self, until: datetime, since: datetime | None = None, views: Collection[str] | None = None) -> None:
        """Bring views' online rows up to a moment."""
        for view in self._views.values():
            if views is not None and view.name not in views:
                continue
            for row in self._newest_each(view, until).values():
                if since is None or max(_clocks(row)) >= since:
                    self._keep(view, row)
            if view.name in self._ending:
                self._forget_ended(view, until)

    def _forget_ended(self, view: ViewInfo, until: datetime) -> None:
        online = self._online[view.name]
        live = {key[0] for key, row in online.items() if _live(view, row, until)}
        self._online[view.name] = {key: row for key, row in online.items() if key[0] in live}

    def push(self, view: str, rows: pa.Table) -> None:
        """Write rows of a view online as they come in."""
        declared = self.view(view)
        if view not in self._pushed:
            message = f"feature view {view}: nothing can be pushed to it"
            raise FeatureError(message)
        for row in rows.select(self._schemas[view].names).cast(self._schemas[view]).to_pylist():
            self._keep(declared, row)

    def _keep(self, view: ViewInfo, row: Row) -> None:
        online, key = self._online[view.name], _key(view, row)
        if key not in online or _clocks(row) >= _clocks(online[key]):
            online[key] = row
            self._generations[view.name] += 1

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Return all rows of one first key; memory is always in time."""
        del within
        table = self._online_table(view, lambda found: found[0] == key)
        return table if len(table) else None

    def online_columns(self, keys: Mapping[str, str], *, within: float | None = None) -> Mapping[str, UnitColumns]:
        """Return the same rows of each view, by column."""
        found = {view: self.online_group(view, key, within=within) for view, key in keys.items()}
        return {view: columns_of(table) for view, table in found.items() if table is not None}

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return the rows of one first key after another."""
        found = {}
        for view, some in keys.items():
            tables = [self.online_group(view, key) for key in some]
            there = [table for table in tables if table is not None]
            if there:
                counts = [0 if table is None else len(table) for table in tables]
                found[view] = Groups(columns_of(pa.concat_tables(there)), np.cumsum([0, *counts]))
        return found

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view."""
        return self._online_table(view, lambda _: True)

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event time online."""
        return max((_clocks(row)[0] for row in self._online[self.view(view).name].values()), default=None)

    def erase(self, join_key: str, values: Sequence[str]) -> ErasedOnline:
        """Delete the rows online of some values of a view's first join key."""
        rows: dict[str, int] = {}
        unreached: list[str] = []
        for name, view in self._views.items():
            if view.join_keys[:1] == (join_key,):
                gone = [key for key in self._online[name] if key[0] in values]
                for key in gone:
                    del self._online[name][key]
                self._generations[name] += bool(gone)
                rows[name] = len(gone)
            elif join_key in view.join_keys:
                unreached.append(name)
        return ErasedOnline(rows, tuple(unreached))

    def generation(self, view: str) -> int:
        """Return how many rows were ever written online."""
        return self._generations[self.view(view).name]

    def _online_table(self, view: str, wanted: Callable[[tuple[Any, ...]], bool]) -> pa.Table:
        rows = [row for key, row in self._online[self.view(view).name].items() if wanted(key)]
        return pa.Table.from_pylist(rows, schema=self._schemas[view])


def _key(view: ViewInfo, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in view.join_keys)


def _clocks(row: Row) -> tuple[datetime, datetime]:
    return row[schema.EVENT_TIMESTAMP], row[schema.CREATED_TIMESTAMP]


def _newest(rows: Iterator[Row]) -> Row | None:
    return max(rows, key=_clocks, default=None)


def _live(view: ViewInfo, row: Row, at: datetime) -> bool:
    return view.ttl is None or row[schema.EVENT_TIMESTAMP] >= at - view.ttl
