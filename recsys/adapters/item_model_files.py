"""Where do item-item models stand? In files that every worker maps into memory, so that all share one copy.

A folder a model, `<key>/<generation>/`, with the item ids as Arrow IPC and the weights as .npy; `<key>.json` names the
generation that counts. A generation is written under another name and renamed when it is whole, then the pointer is
replaced, then the generation before it is removed: the kernel keeps what a worker has mapped for as long as it does.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from recsys.errors import StoreError
from recsys.ports import ItemWeights

_ATTEMPTS: Final = 3
"""A generation may be replaced between the reading of its name and of its files."""


class ItemModelFiles:
    """`ports.ItemModelStore` in a folder."""

    def __init__(self, folder: Path) -> None:
        """Point at a folder, which is made at the first write."""
        self._folder = folder

    def write(self, key: str, model: ItemWeights) -> None:
        """Put a model in the place of the key's present one."""
        generation = f"{model.at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
        place = self._folder / key / generation
        partial = place.with_name(f".{generation}.{os.getpid()}.partial")
        try:
            partial.mkdir(parents=True)
            _write_items(partial / "items.arrow", model.items)
            for name, values in _arrays(model.weights).items():
                np.save(partial / f"{name}.npy", values, allow_pickle=False)
            partial.rename(place)
            self._point(key, {"generation": generation, "at": model.at.isoformat()})
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            message = (
                f"item-item model {key}: cannot be written into {self._folder.name}/ ({error.strerror}): check that"
                " this user may write into the state folder and that the disk has space"
            )
            raise StoreError(message) from error
        self._remove_others(key, generation)

    def read(self, key: str) -> ItemWeights | None:
        """Return the key's present model, its weights mapped into memory; None where there is none."""
        for _ in range(_ATTEMPTS):
            pointer = self._pointer(key)
            if pointer is None:
                return None
            place = self._folder / key / str(pointer["generation"])
            try:
                return _model(place, datetime.fromisoformat(pointer["at"]))
            except FileNotFoundError:
                continue
            except (OSError, ValueError):  # cut short or damaged; it can be made again
                return None
        return None

    def generation(self, key: str) -> str | None:
        """Return the name of the key's present generation, or None."""
        pointer = self._pointer(key)
        return None if pointer is None else str(pointer["generation"])

    def keep(self, keys: frozenset[str]) -> None:
        """Remove every model of another key, and what killed writers left."""
        for path in sorted(self._folder.glob("*.json")):
            if path.stem not in keys:
                path.unlink(missing_ok=True)
        for path in sorted(self._folder.glob("*/")):
            if path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)
        for path in sorted(self._folder.glob("*.partial")):
            path.unlink(missing_ok=True)
        for key in sorted(keys):
            self._remove_others(key, self.generation(key))

    def _pointer(self, key: str) -> dict[str, Any] | None:
        try:
            pointer = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return pointer if isinstance(pointer, dict) and {"generation", "at"} <= set(pointer) else None

    def _point(self, key: str, pointer: Mapping[str, str]) -> None:
        partial = self._folder / f".{key}.{os.getpid()}.partial"
        partial.write_text(json.dumps(pointer), encoding="utf-8")
        partial.replace(self._folder / f"{key}.json")

    def _remove_others(self, key: str, generation: str | None) -> None:
        folder = self._folder / key
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name != generation:
                shutil.rmtree(path, ignore_errors=True)


def _arrays(weights: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - scipy has no types
    if sparse.issparse(weights):
        return {"data": weights.data, "indices": weights.indices, "indptr": weights.indptr}
    return {"weights": weights}


def _model(place: Path, at: datetime) -> ItemWeights | None:
    items = _read_items(place / "items.arrow")
    shape = (len(items), len(items))
    if (place / "weights.npy").exists():
        weights = _mapped(place / "weights.npy")
    else:
        parts = tuple(_mapped(place / f"{name}.npy") for name in ("data", "indices", "indptr"))
        weights = sparse.csr_array(parts, shape=shape, copy=False)
    return ItemWeights(items, weights, at) if weights.shape == shape else None


def _mapped(path: Path) -> NDArray[Any]:
    values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return values


def _write_items(path: Path, items: NDArray[np.object_]) -> None:
    table = pa.table({"item_id": pa.array(items, pa.string())})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read_items(path: Path) -> NDArray[np.object_]:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        return np.array(table["item_id"].to_pylist(), dtype=object)
