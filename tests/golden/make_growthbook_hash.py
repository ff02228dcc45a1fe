"""Write growthbook_hash.json: buckets by the growthbook package (4.0.0), which tests compare ours with.

Run it with the project's Python after an update of the package: `python tests/golden/make_growthbook_hash.py`.
"""

import json
from itertools import product
from pathlib import Path

from growthbook.core import gbhash

SEEDS = ("", "home_ranker:", "żółć:", "😀:", "a" * 40 + ":")
UNITS = (
    "",
    "1",
    "household_1",
    "household_2500",
    "00000000-0000-4000-8000-000000000000",
    "user@example.com",
    "zażółć gęślą jaźń",
    "Grüße",
    "你好",
    "😀",
    "a😀b",
    "👨‍👩‍👧‍👦",
    "e\u0301",
    "\x00",
    "\x7f",
    "\x80",
    "\uffff",
    "\U0010ffff",
    "\ud800",
    "\udc00x",
    "\ud83d\ude00",
    "x" * 300,
    *(f"user-{number}" for number in range(200)),
)


def main() -> None:
    """Write the vectors beside this script."""
    cases = [
        {"seed": seed, "unit": unit, "bucket": round((gbhash(seed, unit, 2) or 0.0) * 10_000)}
        for seed, unit in product(SEEDS, UNITS)
    ]
    text = json.dumps(cases, indent=0, ensure_ascii=True)
    Path(__file__).with_name("growthbook_hash.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
