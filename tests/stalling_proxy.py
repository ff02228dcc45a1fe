"""How does a test let a server hang that it may not stop? By a TCP proxy of its own, which can hold what it carries."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class StallingProxy:
    """Carries bytes between its port on 127.0.0.1 and a server, until it is told to hold them."""

    def __init__(self, host: str, port: int) -> None:
        """Listen on a free port."""
        self._server = (host, port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Take bytes and connections, and hand nothing on."""
        self._flowing.clear()

    def resume(self) -> None:
        """Carry again, and first what was held."""
        self._flowing.set()

    def close(self) -> None:
        """End everything."""
        self._flowing.set()
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(self._server)
                self._sockets += [inner, outer]
                for pair in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                self._flowing.wait()
                target.sendall(piece)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def stalling_proxy(host: str, port: int) -> Iterator[StallingProxy]:
    """Give a proxy before a server, and end it."""
    proxy = StallingProxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()
