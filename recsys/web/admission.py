"""How many requests may be in work at once, and what becomes of the others? Some wait, the rest is told so at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

T = TypeVar("T")

RETRY_SECONDS: Final = 1


class BusyError(Exception):
    """A request comes when as many are waiting as may."""


class Admission:
    """The threads of one kind of work, and the queue before them. It belongs to one event loop."""

    def __init__(self, kind: str, concurrent: int, waiting: int) -> None:
        """Start no thread yet.

        Args:
            kind: of work, for the names of threads.
            concurrent: requests at a time.
            waiting: requests that may wait for that.
        """
        self._threads = ThreadPoolExecutor(concurrent, thread_name_prefix=kind)
        self._free = asyncio.Semaphore(concurrent)
        self._most = concurrent + waiting
        self.inside = 0
        """Requests in work and waiting."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work in a thread when its turn comes.

        Raises:
            BusyError: at once, if too many are waiting.
        """
        async with self._entered():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @asynccontextmanager
    async def _entered(self) -> AsyncIterator[None]:
        if self.inside >= self._most:
            raise BusyError
        self.inside += 1
        try:
            async with self._free:
                yield
        finally:
            self.inside -= 1

    def close(self) -> None:
        """Take no more work; what has begun ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
