"""How fast are the packed online stores beside Feast's own, to fill and to read, on SQLite and on Redis?

    .venv/bin/python benchmarks/online_store.py [--users 100000] [--items 200] [--runs 3] [--reads 200]
        [--redis redis://127.0.0.1:6379/0] [--key-prefix recsys_benchmark:] [--parts materialize,read]

Materialize: a view of 10 features, a row a user, from parquet; Feast's stores with its duckdb store and local engine,
ours with the ASOF store and the Arrow engine. Read: a user's row and the rows of the user and 200 items; Feast's by
`online_read`, ours as Arrow and also by `online_read`. Each is run once to warm up, then the contestants take turns
(reads 20 at a time, so that none finds only what another left in the caches), and medians are compared. Redis is left
out where none answers.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ.setdefault("FEAST_USAGE", "False")
warnings.filterwarnings("ignore")

from online_store_shops import READERS, Shop, key, write_tables  # noqa: E402 - Feast reads the environment

BUDGETS = {"materialize sqlite": 10.0, "read sqlite": 10.0}
"""How many times faster than Feast's ours has to be."""
READS_A_TURN = 20
PACKED = "recsys.adapters.packed_online_store"

Call = Callable[[], None]


def main() -> int:
    """Print medians and ratios; fail beyond a budget."""
    arguments = parsed()
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), arguments.users, arguments.items)
        for kind, stores in contestants(Path(folder), arguments).items():
            shops = {
                name: Shop.of(Path(folder), Path(folder, name.replace(" ", "_")), online, packed="packed" in name)
                for name, online in stores.items()
            }
            try:
                if "materialize" in arguments.parts:
                    missed += report(f"materialize {kind}", filling(shops, arguments.runs))
                if "read" in arguments.parts:
                    missed += report(f"read {kind}", reading(shops, arguments.items, arguments.reads))
            finally:
                for shop in shops.values():
                    shop.close()
    return 1 if missed else 0


def parsed() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--reads", type=int, default=200)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--key-prefix", default="recsys_benchmark:")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["materialize", "read"])
    return parser.parse_args()


def contestants(folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `online_store:` of Feast's store and of ours, by server."""
    result: dict[str, dict[str, dict[str, Any]]] = {
        "sqlite": {
            "feast sqlite": {"type": "sqlite", "path": str(folder / "feast.db")},
            "packed sqlite": {"type": f"{PACKED}.PackedSqliteOnlineStore", "path": str(folder / "packed.db")},
        }
    }
    if answers(arguments.redis):
        address, _, database = arguments.redis.removeprefix("redis://").partition("/")
        packed = {"type": f"{PACKED}.PackedRedisOnlineStore", "url": arguments.redis}
        result["redis"] = {
            "feast redis": {"type": "redis", "connection_string": f"{address},db={database or 0}"},
            "packed redis": packed | {"key_prefix": arguments.key_prefix},
        }
    return result


def answers(url: str) -> bool:
    """Whether a Redis server is there."""
    try:
        import redis

        redis.Redis.from_url(url, socket_connect_timeout=1).ping()
    except Exception as error:  # noqa: BLE001 - whatever is missing, the rest is measured
        print(f"Redis is left out: {error}")
        return False
    return True


def filling(shops: dict[str, Shop], runs: int) -> dict[str, float]:
    """Return the seconds to fill the users' view from nothing."""
    calls: dict[str, tuple[Call, Call]] = {
        name: (partial(shop.empty, shop.users), partial(shop.materialize, shop.users)) for name, shop in shops.items()
    }
    return in_turns(calls, runs)


def reading(shops: dict[str, Shop], items: int, reads: int) -> dict[str, float]:
    """Return the seconds to read a user and the user's items."""
    users = [f"u{n}" for n in range(READERS)]
    keys = {user: ([key(user_id=user)], [key(user_id=user, item_id=f"i{n}") for n in range(items)]) for user in users}
    calls: dict[str, tuple[Call, Call]] = {}
    for name, shop in shops.items():
        shop.materialize(shop.users)
        shop.materialize(shop.pairs)
        turns = cycle(users), cycle(users)
        if name.startswith("packed"):
            calls[name] = (_nothing, lambda shop=shop, turn=turns[0]: shop.read_groups(next(turn)))
            name = f"{name}, as protobufs"  # noqa: PLW2901 - the same shop, read in Feast's way
        calls[name] = (_nothing, lambda shop=shop, turn=turns[1]: shop.read_rows(*keys[next(turn)]))
    return in_turns(calls, max(1, reads // READS_A_TURN), READS_A_TURN)


def in_turns(calls: dict[str, tuple[Call, Call]], runs: int, times: int = 1) -> dict[str, float]:
    """Return the median seconds of each second call, after a turn that does not count; the first prepares it.

    Args:
        calls: what prepares and what is measured, by name.
        runs: how many turns each has.
        times: how often it is called in one turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(runs + 1):
        for name, (prepare, call) in calls.items():
            for _ in range(times):
                prepare()
                begun = time.perf_counter()
                call()
                if number:
                    seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(subject: str, seconds: dict[str, float]) -> bool:
    """Print medians and ratios; say whether ours is beyond its budget."""
    print(subject)
    feast, packed, *_ = seconds.values()
    for name, median in seconds.items():
        ratio = "" if median == feast else f"{feast / median:8.1f} times faster"
        print(f"  {name:28} {median * 1000:10.3f} ms{ratio}", flush=True)
    budget = BUDGETS.get(subject)
    if budget is None:
        return False
    beyond = feast / packed < budget
    print(f"  budget: {budget:.0f} times faster: {'beyond' if beyond else 'within'}")
    return beyond


def _nothing() -> None:
    """Prepare nothing."""


if __name__ == "__main__":
    sys.exit(main())
