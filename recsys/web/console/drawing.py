"""Who draws the pictures? A process of its own, so that drawing takes no time from those who answer requests."""

import asyncio
import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recsys.errors import StoreError
from recsys.web.console.reads import Document

_KEPT: Final = 32
"""So many documents' pictures are kept in memory."""
_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Drawing:
    """A document that is to be drawn."""

    kind: str
    """As `python -m recsys.reports` calls it: experiment, offline or funnel."""
    said: bytes
    """The document, as JSON."""
    digest: str
    """Of both."""

    @classmethod
    def of(cls, kind: str, document: Document) -> "Drawing":
        """Write a document, which takes milliseconds: in a thread of pages, not in that of all answers."""
        said = json.dumps(document).encode()
        return cls(kind, said, f"{kind} {hashlib.sha256(said).hexdigest()}")


class Drawer:
    """Draws documents by `python -m recsys.reports`, one at a time, and keeps what was drawn last."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._one = asyncio.Lock()
        self._drawn: OrderedDict[str, Mapping[str, str]] = OrderedDict()

    async def drawn(self, drawing: Drawing) -> Mapping[str, str]:
        """Return a document's pictures by name, as SVG.

        Raises:
            StoreError: if they could not be drawn, or not in time.
        """
        key = drawing.digest
        async with self._one:
            if key not in self._drawn:
                self._drawn[key] = await _draw(drawing.kind, drawing.said)
                if len(self._drawn) > _KEPT:
                    self._drawn.popitem(last=False)
            self._drawn.move_to_end(key)
            return self._drawn[key]


async def _draw(kind: str, document: bytes) -> Mapping[str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "recsys.reports", kind, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        answer, complaint = await asyncio.wait_for(process.communicate(document), _SECONDS)
    except TimeoutError as error:
        message = f"pictures: not drawn in {_SECONDS:g} s; the tables have every figure"
        raise StoreError(message) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        message = f"pictures: not drawn: {last}; the tables have every figure"
        raise StoreError(message)
    found: dict[str, str] = json.loads(answer)
    return found
