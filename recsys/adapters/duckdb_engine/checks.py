"""What does `recsys doctor` have to know of DuckDB on this machine?"""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb

from recsys.adapters.duckdb_engine.engine import DuckDBEngine
from recsys.errors import DataError
from recsys.ports import Finding
from recsys.specs.environment import Limits


def duckdb_findings(limits: Limits, spill: Path) -> Iterator[Finding]:
    """Run a query, and compare the limits with the machine.

    Args:
        limits: what one process may use.
        spill: beside which DuckDB spills.
    """
    try:
        DuckDBEngine(limits, spill).query("select sum(range) from range(1000)")
    except DataError as error:
        yield Finding("engine: duckdb", "failed", str(error))
        return
    yield Finding("engine: duckdb", "ok", f"DuckDB {duckdb.__version__}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{limits.threads} threads of {cores} cores, {limits.memory} of {memory / 1e9:.1f} GB"
    if limits.memory_bytes > memory:
        advice = "lower limits.memory below what the machine has: beyond it the kernel ends processes"
        yield Finding("engine: limits", "failed", found, advice)
    elif limits.threads > cores:
        yield Finding("engine: limits", "warning", found, "lower limits.threads: more than there are cores cost time")
    else:
        yield Finding("engine: limits", "ok", found)
