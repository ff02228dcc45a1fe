"""What does a write to the event log cost, alone, in groups and buffered, and what does a kill lose?

    .venv/bin/python benchmarks/event_log.py [sqlite:///file.db | postgresql+psycopg://user@host/database]

An exposure of 10 slots a write. `direct` is the log itself, a transaction a write; `acknowledged` and `buffered` go
through the queue of `recsys serve`; the rates of `buffered` are what the log kept up with, its queue drained. `disk` is
a 4 KiB write and fsync beside the log. A process under load is then killed (-9) several times: what it was told is
accepted and the log does not have is lost; the window is how long before the kill the oldest lost one was accepted.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from recsys import schema
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.ports import Exposure, ShownItem
from recsys.serving.group_commit import GroupCommit

SECONDS: Final = 2.5
ACCEPTED: Final = 600
"""Of a process before it is killed."""
KILLS: Final = 5
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
SLOTS: Final = tuple(ShownItem(f"item_{slot}", slot, 1 / slot) for slot in range(1, 11))

WRITERS: Final = """
import itertools, os, sys, threading, time
sys.path.insert(0, sys.argv[4])
from event_log import exposure
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.serving.group_commit import GroupCommit
log = SqlEventLog(sys.argv[1])
log.ping()
grouped = GroupCommit(log, sys.argv[2])
def write(writer):
    for number in itertools.count():
        name = f"{sys.argv[3]}-{writer}-{number}"
        grouped.write_exposures([exposure(name)])
        os.write(1, f"{name} {time.monotonic()}\\n".encode())
        time.sleep(0.002)
for writer in range(4):
    threading.Thread(target=write, args=(writer,)).start()
"""


def main() -> int:
    """Print a line a way of writing, then what kills lost; fail if something acknowledged was lost."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        url = sys.argv[1] if sys.argv[1:] else f"sqlite:///{folder}/event_log.db"
        log = SqlEventLog(url)
        log.ping()
        print(f"{'disk: write and fsync':30} p50 {1_000 * fsync_seconds(Path(folder)):7.2f} ms")
        show("direct, 1 writer", *measured(log.write_exposures, "d", 1))
        for durability, writers in (("acknowledged", 1), ("acknowledged", 8), ("buffered", 1), ("buffered", 8)):
            grouped = GroupCommit(log, durability, wait_seconds=60)
            began = time.perf_counter()
            many = "writers" if writers > 1 else "writer"
            rows, waits = measured(grouped.write_exposures, f"{durability}{writers}", writers)
            grouped.close(60)
            show(f"{durability}, {writers} {many}", rows * SECONDS / (time.perf_counter() - began), waits)
        lost = {durability: kills(url, log, durability) for durability in ("acknowledged", "buffered")}
        log.close()
    return 1 if lost["acknowledged"] else 0


def exposure(name: str) -> Exposure:
    """Return one of ten slots."""
    return Exposure(name, "home", "u", None, None, None, False, "basket/v2", 3, None, AT, "d", {}, SLOTS)


def fsync_seconds(folder: Path) -> float:
    """Return the median of a small write that is on disk."""
    taken = []
    with (folder / "plain").open("wb") as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measured(write: Callable[[list[Exposure]], int], name: str, writers: int) -> tuple[float, list[float]]:
    """Write for some seconds; return writes a second and how long each took."""
    waits: list[float] = []
    until = time.perf_counter() + SECONDS

    def run(writer: int) -> None:
        mine, number = [], 0
        while (began := time.perf_counter()) < until:
            write([exposure(f"{name}-{writer}-{number}")])
            mine.append(time.perf_counter() - began)
            number += 1
        waits.extend(mine)

    threads = [threading.Thread(target=run, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(waits) / SECONDS, waits


def show(name: str, writes: float, waits: list[float]) -> None:
    """Print one way of writing."""
    waits.sort()
    p50, p99 = (1_000 * waits[int(share * len(waits))] for share in (0.5, 0.99))
    print(f"{name:30} p50 {p50:7.3f} ms  p99 {p99:7.3f} ms  {writes:8,.0f} exposures/s  {11 * writes:9,.0f} rows/s")


def kills(url: str, log: SqlEventLog, durability: str) -> int:
    """Kill a process that writes, again and again; print and return what was accepted and is not there."""
    losses: list[int] = []
    windows: list[float] = []
    accepted_in_all = 0
    for kill in range(KILLS):
        command = [sys.executable, "-c", WRITERS, url, durability, f"{durability}{kill}", str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(ACCEPTED)] if process.stdout else []
            os.kill(process.pid, signal.SIGKILL)
            killed = time.monotonic()
            lines += [line for line in process.stdout or () if line.endswith("\n")]
        accepted = {name: float(moment) for name, moment in map(str.split, lines)}
        found = set(log.exposures("home", AT, AT + timedelta(days=1))[schema.REQUEST_ID].to_pylist())
        lost = [moment for name, moment in accepted.items() if name not in found]
        accepted_in_all += len(accepted)
        losses.append(len(lost))
        windows.append(killed - min(lost, default=killed))
    print(
        f"kill -9, {durability:12} {KILLS} kills, {accepted_in_all:,} accepted, {sum(losses)} lost"
        f" (most in one {max(losses)}), window up to {1_000 * max(windows):.1f} ms"
    )
    return sum(losses)


if __name__ == "__main__":
    sys.exit(main())
