"""How much longer does `recsys --help` take than `import typer`? The budget is 1.8 times.

    .venv/bin/python benchmarks/startup.py [runs]

The two are run in turns, so that what else the machine does hits both, and their medians are compared.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

BUDGET = 1.8
RUNS = 31


def main() -> int:
    """Print both medians and their ratio; fail beyond the budget."""
    runs = int(sys.argv[1]) if sys.argv[1:] else RUNS
    commands = {
        'python -c "import typer"': [sys.executable, "-c", "import typer"],
        "recsys --help": [str(Path(sys.executable).with_name("recsys")), "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if number:  # the first pair fills the caches
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:26} {median * 1000:7.1f} ms, median of {runs}")
    bare, helped = medians.values()
    ratio = helped / bare
    print(f"ratio {ratio:.2f}, budget {BUDGET}: {'within' if ratio <= BUDGET else 'beyond'}")
    return 0 if ratio <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
