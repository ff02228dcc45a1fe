"""What stands between a service and a store, so that a test can let the store hang, vanish and come back?"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final, Self

THROUGH: Final = "through"
HANG: Final = "hang"
REFUSE: Final = "refuse"


class Proxy:
    """Passes TCP on to a port of this machine; by command it hangs, or ends every connection."""

    def __init__(self, port: int) -> None:
        """Listen on a free port.

        Args:
            port: of the store.
        """
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]
        self._mode = THROUGH
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        """Begin to pass on."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every connection."""
        self.be(REFUSE)
        self._listening.close()

    def be(self, mode: str) -> None:
        """Pass on from now on, or hang, or refuse."""
        with self._changed:
            self._mode = mode
            if mode == REFUSE:
                for connection in self._open:
                    _end(connection)
                self._open.clear()
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._connect, args=(caller,), daemon=True).start()

    def _connect(self, caller: socket.socket) -> None:
        if not self._may_pass():
            _end(caller)
            return
        try:
            store = socket.create_connection(("127.0.0.1", self._target), timeout=10)
        except OSError:
            _end(caller)
            return
        store.settimeout(None)
        with self._changed:
            self._open |= {caller, store}
        threading.Thread(target=self._pump, args=(caller, store), daemon=True).start()
        self._pump(store, caller)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65_536)) and self._may_pass():
                target.sendall(data)
        _end(source)
        _end(target)
        with self._changed:
            self._open -= {source, target}

    def _may_pass(self) -> bool:
        """Wait while nothing comes through; return whether connections go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._mode != HANG)
            return self._mode == THROUGH


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
