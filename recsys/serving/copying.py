"""How is what answers are made from written beside the service, and read again when no store answers?

A placement's document has its declarations, who is champion and which weights the arms have, what features mean, and
the names and digests of the pieces: rankers and the tables of the item matrix. A restore puts them together by the very
code that follows the stores. Item-item models are files of the state folder already.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from recsys.errors import FeatureError, StoreError
from recsys.ports import FeatureSet, OnlineFeatures, Ranker, ServingCopy, UnitColumns, ViewInfo, Weights
from recsys.serving.state import LoadedModel, ServingState
from recsys.specs.catalog import digest as digest_of

LOGGER = logging.getLogger(__name__)

FORMAT: Final = 1

Definitions = Callable[[str], FeatureSet]
"""Feature service to what it means by some source."""


def save(
    copy: ServingCopy,
    placement: str,
    declared: Mapping[str, Any],
    state: ServingState,
    online: OnlineFeatures,
    at: datetime,
) -> None:
    """Write what a placement's answers are made from.

    Args:
        copy: where to.
        placement: its name.
        declared: its declarations as JSON values.
        state: all of it read from the stores.
        online: the tables of the item matrix are read from it, those that no worker has kept yet.
        at: the moment.

    Raises:
        StoreError: if a store or the copy fails; the document before stays.
    """
    pieces: list[str] = []
    tables = {}
    for view, generation in (state.matrix.generations if state.matrix is not None else {}).items():
        name = f"{view}@{generation}"
        digest = copy.digest(name) or copy.keep_table(name, online.online_all(view))
        tables[view] = {"piece": name, "digest": digest, "generation": generation}
        pieces.append(name)
    models = []
    for (model, number), loaded in sorted(state.loaded.items()):
        # A registry that was made anew counts from 1 again; the tags have the digests of logic and data.
        name = f"{model}@{number}@{digest_of(dict(loaded.weights.tags))}"
        digest = copy.keep_ranker(name, loaded.ranker)
        models.append(_model_document(loaded, name, digest))
        pieces.append(name)
    views = {view.name: view for loaded in state.loaded.values() for view in loaded.features.views} | dict(state.views)
    views |= {name: online.view(name) for name in tables if name not in views}
    document = {
        "format": FORMAT,
        "at": at.isoformat(),
        "declared": declared,
        "arms": {version: loaded.weights.number for version, loaded in state.models.items()},
        "champion": None if state.champion is None else list(state.champion.key),
        "models": models,
        "tables": tables,
        "views": {name: _view_document(view) for name, view in views.items()},
        "watermarks": {name: stamp and stamp.isoformat() for name, stamp in state.watermarks.items()},
    }
    copy.write(placement, document, pieces)


def _model_document(loaded: LoadedModel, piece: str, digest: str) -> dict[str, Any]:
    weights, features = loaded.weights, loaded.features
    return {
        "model": weights.model,
        "number": weights.number,
        "version": weights.version,
        "tags": dict(weights.tags),
        "piece": piece,
        "digest": digest,
        "features": {
            "name": features.name,
            "columns": features.columns,
            "references": features.references,
            "views": [view.name for view in features.views],
            "transforms": [transform.name for transform in features.transforms],
            "digest": features.digest,
        },
    }


def _view_document(view: ViewInfo) -> dict[str, Any]:
    ttl = None if view.ttl is None else view.ttl.total_seconds()
    return {"join_keys": view.join_keys, "features": view.features, "kinds": dict(view.kinds), "ttl": ttl}


class CopiedStores:
    """The stores as a placement's document has them: `OnlineFeatures` without a unit's rows, and the weights."""

    def __init__(self, copy: ServingCopy, document: Mapping[str, Any], definitions: Sequence[Definitions]) -> None:
        """Point at a document.

        Args:
            copy: where its pieces are.
            document: of one placement.
            definitions: who knows the functions of request-time features; one counts if it gives the digest that the
                copied features had.
        """
        self._copy = copy
        self._document = document
        self._definitions = definitions
        self._models = {(each["model"], each["number"]): each for each in document["models"]}
        self._rankers = {key: ranker for key, each in self._models.items() if (ranker := self._intact(each))}

    @property
    def at(self) -> datetime:
        """When the copy was written."""
        return datetime.fromisoformat(self._document["at"])

    # -- the registry and the ledger

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights of a logic's alias."""
        number = self._document["arms"].get(f"{model}/{alias.removeprefix('logic-')}")
        return None if number is None else self._weights(model, number)

    def champion_of(self, model: str) -> Weights | None:
        """Return the champion."""
        champion = self._document["champion"]
        return self._weights(*champion) if champion is not None and champion[0] == model else None

    def load(self, weights: Weights) -> Ranker:
        """Return a ranker, which is as it was kept."""
        return self._rankers[weights.model, weights.number]

    def _weights(self, model: str, number: int) -> Weights | None:
        """Return weights that can be served from the copy, or None."""
        if (model, number) not in self._rankers:
            return None
        each = self._models[model, number]
        return Weights(model, number, each["version"], each["tags"])

    def _intact(self, each: Mapping[str, Any]) -> Ranker | None:
        try:
            self._features(each["features"])
            return self._copy.ranker(each["piece"], each["digest"])
        except (StoreError, FeatureError) as error:
            LOGGER.error("weights %s/%d of the local copy are not served: %s", each["model"], each["number"], error)  # noqa: TRY400 - said in full
            return None

    # -- features

    def view(self, name: str) -> ViewInfo:
        """Describe a view as it was."""
        if name not in self._document["views"]:
            message = f"feature view {name!r}: the local copy does not have it"
            raise FeatureError(message)
        each = self._document["views"][name]
        ttl = None if each["ttl"] is None else timedelta(seconds=each["ttl"])
        return ViewInfo(name, tuple(each["join_keys"]), tuple(each["features"]), each["kinds"], ttl)

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Return a feature service as it was."""
        for each in self._models.values():
            if each["features"]["name"] == name:
                return self._features(each["features"])
        message = f"feature service {name!r}: the local copy does not have it"
        raise FeatureError(message)

    def online_all(self, view: str) -> pa.Table:
        """Return the rows of an item view as they were."""
        each = self._document["tables"][view]
        return self._copy.table(each["piece"], each["digest"])

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Return None: rows of units are not copied."""
        del view, key, within
        return None

    def online_columns(self, keys: Mapping[str, str], *, within: float | None = None) -> Mapping[str, UnitColumns]:
        """Return nothing: rows of units are not copied."""
        del keys, within
        return {}

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event time of a view when the copy was written."""
        stamp = self._document["watermarks"].get(view)
        return None if stamp is None else datetime.fromisoformat(stamp)

    def generation(self, view: str) -> int:
        """Return the number that the view's rows had."""
        found = self._document["tables"].get(view)
        return 0 if found is None else int(found["generation"])

    def _features(self, each: Mapping[str, Any]) -> FeatureSet:
        transforms = self._defined(each).transforms if each["transforms"] else ()
        return FeatureSet(
            name=each["name"],
            columns=tuple(each["columns"]),
            references=tuple(each["references"]),
            views=tuple(self.view(name) for name in each["views"]),
            transforms=transforms,
            digest=each["digest"],
        )

    def _defined(self, each: Mapping[str, Any]) -> FeatureSet:
        reasons = []
        for define in self._definitions:
            try:
                found = define(each["name"])
            except Exception as error:  # noqa: BLE001 - whatever a repository's files or a feature registry raise
                reasons.append(str(error))
                continue
            if found.digest == each["digest"]:
                return found
            reasons.append(f"digest {found.digest} by now")
        message = (
            f"features {each['name']}: their request-time functions are not those of the copy, digest {each['digest']}:"
            f" {'; '.join(reasons)}"
        )
        raise FeatureError(message)
