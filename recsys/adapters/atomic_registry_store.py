"""How does Feast's registry file stay whole when its writer is killed, and while others read it?

Feast writes the file in place: a reader in that moment, or after a kill in it, finds an empty or a cut file. Named by
`registry.registry_store_type` in feature_store.yaml, this store writes beside it and renames.
"""

import os
import platform
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto

_LEFT_BEHIND_SECONDS: Final = 600
"""A write takes milliseconds; what is older than this was left by a process that was killed in it."""


class AtomicFileRegistryStore(FileRegistryStore):
    """Feast's file registry, replaced as a whole at each write."""

    def _write_registry(self, registry_proto: RegistryProto) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        self._filepath.parent.mkdir(exist_ok=True)
        for other in self._filepath.parent.glob(f"{self._filepath.stem}.*.partial"):
            if _left_behind(other):
                other.unlink(missing_ok=True)
        partial = self._filepath.with_suffix(f".{platform.node()}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._filepath)


def _left_behind(partial: Path) -> bool:
    """Say whether its writer was killed: its process is gone, or, where that cannot be seen, the file is old."""
    name, _, process = partial.stem.rpartition(".")
    if process.isdigit() and name.endswith(f".{platform.node()}"):
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it lives, and is another user's
            return False
    try:
        return time.time() - partial.stat().st_mtime > _LEFT_BEHIND_SECONDS
    except FileNotFoundError:  # just renamed
        return False
