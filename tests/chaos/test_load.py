"""Do memory and latency stay flat at 70 % of what a worker can do, and is the excess beyond it told so?"""

import shutil
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.conftest import LONGEST_SECONDS, Answered, Load, Served, Shop, serving
from tests.chaos.own_servers import wait_until

pytestmark = pytest.mark.server

SECONDS: Final = 15.0
"""The long form is of thirty minutes, in benchmarks."""


def test_at_seven_tenths_of_saturation_memory_and_latency_are_flat(shop: Shop, tmp_path: Path) -> None:
    with serving(shop, 1, tmp_path) as served:
        rate = 0.7 * saturation(served)
        paced(served, rate, 3)
        before = memory(served.process.pid)
        answers = paced(served, rate, SECONDS)
        grown = memory(served.process.pid) - before
    assert {answer.status for answer in answers} == {200}
    third = len(answers) // 3
    first, last = (statistics.median(each.seconds for each in some) for some in (answers[:third], answers[-third:]))
    assert last < 3 * first + 0.02, "a queue that grows doubles it again and again"
    assert grown < 0.1 * before, f"{grown / len(answers):,.0f} bytes a request"


def test_far_beyond_saturation_nothing_hangs(shop: Shop, tmp_path: Path) -> None:
    with serving(shop, 1, tmp_path) as served, Load(served, clients=100, pause=0) as load:
        wait_until(lambda: sum(answer.status == 503 for answer in load.answers) > 50, "the excess is refused")
        wait_until(lambda: sum(answer.status == 200 for answer in load.answers) > 50, "others are answered")
    assert {answer.status for answer in load.answers} == {200, 503}
    assert max(answer.seconds for answer in load.answers) < LONGEST_SECONDS


def saturation(served: Served) -> float:
    """Return the answers a second that a worker gives to clients that ask without a pause."""
    with Load(served, clients=4, pause=0) as load:
        wait_until(lambda: len(load.answers) > 20, "it is warm")
        began, since = time.monotonic(), len(load.answers)
        time.sleep(4)
        return (len(load.answers) - since) / (time.monotonic() - began)


def memory(process: int) -> int:
    """Return what a process holds in memory, in bytes."""
    program = shutil.which("ps")
    assert program
    told = subprocess.run([program, "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True)
    return int(told.stdout) * 1024


def paced(served: Served, rate: float, seconds: float) -> list[Answered]:
    """Ask so many times a second, by four clients that each keep to their times."""
    answers: list[Answered] = []
    began = time.monotonic()

    def ask(number: int) -> None:
        turn = 0
        while (at := (turn * 4 + number) / rate) < seconds:
            time.sleep(max(0.0, began + at - time.monotonic()))
            answers.append(served.list(f"household_{number}"))
            turn += 1

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return answers
