"""How many requests may be in work at once, and what becomes of the others? Some wait, the rest is told so at once."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
            waiting: requests that may wait, for that or for the event log.
        """
        self._threads = ThreadPoolExecutor(concurrent, thread_name_prefix=kind)
        self._free = asyncio.Semaphore(concurrent)
        self._most = concurrent + waiting
        self.inside = 0
        """Requests in work and waiting."""

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Let a request in for the time of the block, in which it may `run` its work, and wait for what others do.

        Raises:
            BusyError: at once, if too many are inside.
        """
        if self.inside >= self._most:
            raise BusyError
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of an admitted request's work in a thread when its turn comes."""
        async with self._free:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Take no more work; what has begun ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
