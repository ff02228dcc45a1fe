"""What is it to be killed at a random moment, again and again, and then to complete?"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.reliability.conftest import Forker, Shop

KILLS = 30
SEED = 20171204
LANES = 2
"""Commands that run at a time, each on a project of its own."""
ROUNDS = 5
"""How often in a row a project is killed before a run may complete; all but the first begin on what a kill left."""

Check = Callable[[Path], None]


def ordeal(forker: Forker, shop: Shop, command: tuple[str, ...], check: Check, final: Check) -> None:
    """Kill a command `KILLS` times at uniformly random moments of its undisturbed duration, and let it complete.

    Args:
        forker: runs and kills it.
        shop: what it begins on.
        command: name and arguments.
        check: has to hold after each kill.
        final: has to hold whenever a run has completed.
    """

    def undisturbed(lane: int) -> float:
        project = shop.copy(f"{command[0]}-{lane}")
        answer = forker.run(project, *command)
        assert answer["error"] == ""
        final(project)
        return float(answer["seconds"])

    def suffer(lane: int) -> None:
        chance = np.random.default_rng([SEED, lane])
        project = shop.copy(f"{command[0]}-{lane}")
        suffered = in_a_row = 0
        while suffered < KILLS // LANES or in_a_row:
            spared = suffered == KILLS // LANES or in_a_row == ROUNDS
            answer = forker.run(project, *command, kill_after=None if spared else chance.uniform(0, duration))
            if answer["killed"]:
                check(project)
                suffered, in_a_row = suffered + 1, in_a_row + 1
                continue
            assert answer["error"] == ""
            final(project)
            assert half_written(project) == []
            project, in_a_row = shop.copy(project.name), 0
        shutil.rmtree(project)

    with ThreadPoolExecutor(LANES) as lanes:
        duration = max(lanes.map(undisturbed, range(LANES)))
        list(lanes.map(suffer, range(LANES)))


def half_written(project: Path) -> list[str]:
    """Return what killed writers left under names of their own; the next run removes it."""
    return [path.name for path in (project / ".recsys").rglob("*.partial")]
