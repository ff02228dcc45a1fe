"""Who reads for a page? Threads of its kind, which may hang in a store without anybody else waiting."""

from collections.abc import Callable
from typing import Final, TypeVar

from recsys.serving.breaker import Breaker
from recsys.serving.gate import Gate
from recsys.web.admission import Admission

_WAITING: Final = 16

T = TypeVar("T")


class Lane:
    """The threads of one kind of page, and how long they are waited for."""

    def __init__(self, kind: str, threads: int, seconds: float) -> None:
        """Start no thread yet.

        Args:
            kind: of page, for messages.
            threads: pages at a time.
            seconds: a page waits so long for its stores.
        """
        self._admission = Admission(f"console {kind}", threads, _WAITING)
        self._gate = Gate(Breaker(f"the stores of the console's {kind}s"), threads)
        self._seconds = seconds

    async def ask(self, read: Callable[[], T]) -> T:
        """Return what a read gives, in time.

        Raises:
            BusyError: if as many are waiting as may.
            StoreError: if there was no answer in time, or there was none for the last ones.
        """
        with self._admission.admitted():
            return await self._admission.run(lambda: self._gate.ask(read, self._seconds))

    def close(self) -> None:
        """Take no more work."""
        self._admission.close()
