"""What do the console's pages cost those who ask for lists? `python benchmarks/console.py`, after `make demo`.

First it says what each page costs the processor, which depends little on what else the machine does: when a declaration
was touched, so that all declarations are read and the page is made again, and while nothing has changed.

Then one client asks for lists without a pause. Another looks at pages, with a pause or without one, which nobody does;
or asks for lists itself, for comparison; or does nothing. Rounds alternate, so that what else the machine does meets
all of them.
"""

import http.client
import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import uvicorn

from recsys.web.server import application_of
from recsys.wiring import open_workspace
from recsys.workflows.workspace import Workspace

ROOT: Final = Path(__file__).resolve().parents[1]
ROUNDS: Final = 5
SECONDS: Final = 4.0
PAUSE: Final = 0.1
"""Between the pages of somebody who looks quickly."""
LOOKS: Final = 15
HOUSEHOLD: Final = "household_2375"
LISTS: Final = "/v1/recommend"
BODY: Final = json.dumps({"placement": "home", "user_id": HOUSEHOLD})
JSON: Final = {"content-type": "application/json"}


def main() -> None:
    """Measure and print."""
    workspace = open_workspace("local", ROOT)
    start, end = workspace.catalog.experiment("home_ranker").plan.window()
    requests = workspace.event_log.exposures("home", start, end)["request_id"].to_pylist()[:200]
    pages = ("/", "/models/basket?version=v2", "/experiments/home_ranker")
    tried = f"/placements/home?user_id={HOUSEHOLD}"
    looks: dict[str, tuple[Sequence[str], float]] = {
        "nobody looks": ((), 0.0),
        "another asks for lists": ((LISTS,), 0.0),
        "overview, model, experiment, paced": (pages, PAUSE),
        "overview, model, experiment": (pages, 0.0),
        "lists tried": ((tried,), 0.0),
        "requests explained": ([f"/requests?id={quote(request)}" for request in requests], 0.0),
    }
    with served(workspace) as port:
        for paths, _ in looks.values():
            browse(port, paths[:3], stop=lambda: False)  # imports, caches, pictures
        for path in (LISTS, *pages, "/placements/home", tried, "/requests"):
            first, again = costs(port, path, workspace.root / "registry/problems/weekly_basket.yaml")
            print(f"{path:40} {first:8.2f} ms of the processor, again {again:8.2f}")
        found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in looks}
        for _ in range(ROUNDS):
            for name, (paths, pause) in looks.items():
                found[name].append(measured(port, paths, pause))
    base = [statistics.median(column) for column in zip(*(each[:2] for each in found["nobody looks"]), strict=True)]
    print(f"{'':36} {'p50 ms':>8} {'ratio':>6} {'p99 ms':>8} {'ratio':>6} {'pages/s':>8}")
    for name, rounds in found.items():
        p50, p99, seen = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:36} {p50:8.2f} {p50 / base[0]:6.2f} {p99:8.2f} {p99 / base[1]:6.2f} {seen / SECONDS:8.1f}")


def costs(port: int, path: str, touched: Path) -> tuple[float, float]:
    """Return what an answer costs the processor in ms: after a declaration was touched, and while nothing changes.

    The client is in it, with about a millisecond.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def spent(*, touch: bool) -> float:
        if touch:
            touched.touch()
            time.sleep(0.2)  # a file of this very moment is trusted by nothing
        began = time.process_time()
        ask(connection, path)
        return 1_000 * (time.process_time() - began)

    first = statistics.median(spent(touch=True) for _ in range(LOOKS))
    return first, statistics.median(spent(touch=False) for _ in range(LOOKS))


def ask(connection: http.client.HTTPConnection, path: str) -> str:
    """Return what is answered."""
    if path == LISTS:
        connection.request("POST", LISTS, BODY, JSON)
    else:
        connection.request("GET", path)
    answer = connection.getresponse()
    page = answer.read().decode()
    if answer.status != 200:  # noqa: PLR2004
        sys.exit(f"{path} was answered {answer.status}")
    return page


def measured(port: int, paths: Sequence[str], pause: float) -> tuple[float, float, int]:
    """Return the median and the 99th percentile of lists in ms, and the pages that were looked at meanwhile."""
    over = threading.Event()
    seen: list[int] = []
    reader = threading.Thread(
        target=lambda: seen.append(browse(port, paths, stop=over.is_set, again=True, pause=pause))
    )
    reader.start()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        ask(connection, LISTS)
        took.append(1_000 * (time.perf_counter() - began))
    over.set()
    reader.join()
    return float(np.percentile(took, 50)), float(np.percentile(took, 99)), seen[0]


def browse(
    port: int, paths: Sequence[str], stop: Callable[[], bool], *, again: bool = False, pause: float = 0.0
) -> int:
    """Look at pages one after the other, and at their pictures; returns how many."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    count = 0
    while paths and not stop():
        for path in paths:
            if stop():
                break
            page = ask(connection, path)
            time.sleep(pause)
            if not again:
                for source in {part.partition('"')[0] for part in page.split('src="/charts/')[1:]}:
                    connection.request("GET", f"/charts/{source}")
                    connection.getresponse().read()
            count += 1
        if not again:
            break
    return count


@contextmanager
def served(workspace: Workspace) -> Iterator[int]:
    """Serve a project until the block ends, and return the port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application_of(workspace, None), log_level="error", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:  # noqa: PLR2004
                break
            time.sleep(0.2)
        yield port
        server.should_exit = True
        thread.join(30)


if __name__ == "__main__":
    main()
