"""The load of `serving.py`, in a process of its own: so many connections, each asking again as soon as it is answered.

Prints one JSON document: milliseconds of each request, and how many had which status.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any


async def main(
    port: int, path: str, bodies: list[str], connections: int, seconds: float, rate: float | None = None
) -> dict[str, Any]:
    """Ask for some seconds; the first tenth of them warms up and is not counted.

    Args:
        port: of loopback.
        path: asked by POST.
        bodies: in turn.
        connections: each asks again as soon as it is answered.
        seconds: in all.
        rate: requests a second of all connections together, at most; a late one is timed from when it was due.
    """
    pause = 0.0 if rate is None else connections / rate
    milliseconds: list[float] = []
    statuses: Counter[str] = Counter()
    begun = time.perf_counter()
    end = begun + seconds
    counted_from = begun + seconds / 10

    async def ask(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = first
        due = begun + pause * first / connections
        while time.perf_counter() < end:
            if pause:
                await asyncio.sleep(max(due - time.perf_counter(), 0))
            body = bodies[number % len(bodies)].encode()
            number += connections
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            asked = due if pause else time.perf_counter()
            due += pause
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status = await _answered(reader)
            done = time.perf_counter()
            if asked >= counted_from:
                milliseconds.append(1_000 * (done - asked))
                statuses[status] += 1
        writer.close()

    await asyncio.gather(*(ask(number) for number in range(connections)))
    return {"ms": milliseconds, "statuses": dict(statuses), "seconds": seconds * 0.9}


async def _answered(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    await reader.readexactly(length)
    return head.split(" ", 2)[1]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(asyncio.run(main(**asked))))
