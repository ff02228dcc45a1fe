"""May a service listen where it was told to? Asked before anything heavy is loaded."""

import errno
import socket

from recsys.errors import AddressError


def bound(host: str, port: int) -> list[socket.socket]:
    """Return sockets that hold an address and do not listen yet: what comes before the service is ready is refused.

    Args:
        host: a name or an address; every address that a name has here is held.
        port: 0 takes a free one.

    Raises:
        AddressError: if the name is not known, the port taken, or this user may not have it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets, absent = [], None
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                _held(family, address, listen=port != 0).close()
                sockets.append(_held(family, address))
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                absent = error  # such as ::1 of a machine without IPv6
        if absent is not None and not sockets:
            raise absent
    except OSError as error:
        raise refusal(host, port, error) from error
    return sockets


def refusal(host: str, port: int, error: OSError) -> AddressError:
    """Say why an address cannot be listened on, and what to do.

    Args:
        host: that was asked for.
        port: that was asked for.
        error: what the system answered.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"{where}: taken by another process: choose another with --port")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return AddressError(f"{where}: this user may not listen there: choose a port from 1024 on with --port")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return AddressError(f"{where}: not an address of this machine: choose another with --host")
    return AddressError(
        f"{where}: cannot be listened on: {error.strerror or error}: choose another with --host or --port"
    )


def _held(family: int, address: tuple[object, ...], *, listen: bool = False) -> socket.socket:
    """Bind; only one that listens finds out whether another that is bound does."""
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind(address)
        if listen:
            held.listen()
    except OSError:
        held.close()
        raise
    held.set_inheritable(True)
    return held
