"""What does the shop sell?"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys import schema
from recsys.simulation.randomness import Stream, generator, numbered
from recsys.specs.simulated_trial import STAGES, Stage
from recsys.specs.simulation import Assortment, Simulation

AGES: Final = ("19-24", "25-34", "35-44", "45-54", "55-64", "65+")
"""Age bands of users; what is liked differs between them."""

_DEPARTMENTS: Final = (
    "grocery",
    "produce",
    "dairy",
    "bakery",
    "meat",
    "frozen",
    "drinks",
    "household",
    "beauty",
    "baby",
    "pets",
    "garden",
)
_PACKAGES: Final = ("100 g", "250 g", "500 g", "1 kg", "0.5 l", "1 l", "6 pack", "single")
_OWN_BRAND: Final = 0.25
"""Share of lines under the shop's own brand."""
_TYPES: Final = 4
"""Types within a category."""
_MAKERS_PER_CATEGORY: Final = 2
_AGE_SPREAD: Final = 0.6
"""Standard deviation of the logarithm of an age band's liking for a category."""


@dataclass(frozen=True)
class Catalogue:
    """The items as arrays; they are ordered by category and line, so that both are ranges of items."""

    ids: pa.Array
    """item_id, strings, (items,)."""
    category: NDArray[np.int32]
    """Each item's category, (items,)."""
    line: NDArray[np.int32]
    """Each item's line, (items,)."""
    cumulative: NDArray[np.float64]
    """Popularity of all items before each one, from 0 to 1, (items + 1,)."""
    category_items: NDArray[np.int64]
    """First item of each category, and the number of items, (categories + 1,)."""
    line_items: NDArray[np.int64]
    """First item of each line, and the number of items, (lines + 1,); a line may be empty."""
    age_tastes: NDArray[np.float64]
    """Mean liking of each age band for each category, (ages, categories)."""
    price: NDArray[np.float64]
    """In the shop's currency, whole cents, (items,)."""
    quality: dict[Stage, NDArray[np.float64]]
    """Factor of each item on each stage's rate, (items,)."""
    table: pa.Table
    """`schema.ITEMS`."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def by_popularity(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return an item for each number in [0, 1), popular ones more often."""
        return self._within(uniform, np.float64(0.0), np.float64(1.0))

    def of_category(self, uniform: NDArray[np.float64], category: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return an item of a category for each number in [0, 1), popular ones more often."""
        return self._of_range(uniform, self.category_items[category], self.category_items[category + 1])

    def of_line(self, uniform: NDArray[np.float64], line: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return an item of a line, which may not be empty, for each number in [0, 1)."""
        return self._of_range(uniform, self.line_items[line], self.line_items[line + 1])

    def lines_by_popularity(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return a line of each category for each number in [0, 1), in the shares of their sales.

        Args:
            uniform: (users, categories).

        Returns:
            Lines, (users, categories); none is empty.
        """
        item = self.of_category(uniform, np.arange(uniform.shape[1]))
        lines: NDArray[np.int64] = self.line[item].astype(np.int64)
        return lines

    def _of_range(
        self, uniform: NDArray[np.float64], first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        found = self._within(uniform, self.cumulative[first], self.cumulative[last])
        return np.maximum(first, np.minimum(found, last - 1))

    def _within(self, uniform: NDArray[np.float64], low: Any, high: Any) -> NDArray[np.int64]:  # noqa: ANN401 - arrays or numbers
        found: NDArray[np.int64] = np.searchsorted(self.cumulative, low + uniform * (high - low), side="right")
        return np.asarray(np.minimum(found, len(self)) - 1)


def make_catalogue(simulation: Simulation) -> Catalogue:
    """Make the catalogue; it depends on the assortment and the seed alone."""
    shop = simulation.assortment
    rng = generator(simulation.seed, Stream.CATALOGUE)
    category = _categories(shop, rng)
    line = np.sort(category * shop.lines + rng.integers(shop.lines, size=shop.items))
    popularity = (rng.permutation(shop.items) + 1.0) ** -shop.zipf
    cumulative = np.concatenate(([0.0], np.cumsum(popularity)))
    lines = shop.categories * shop.lines
    spread = shop.price_spread * np.sqrt(0.5)
    of_category, of_item = rng.normal(0, spread, shop.categories), rng.normal(0, spread, shop.items)
    low, high = 1 - shop.quality_spread, 1 + shop.quality_spread
    ids = numbered("item_", 0, shop.items, shop.items)
    return Catalogue(
        ids=ids,
        category=category.astype(np.int32),
        line=line.astype(np.int32),
        cumulative=cumulative / cumulative[-1],
        category_items=np.searchsorted(category, np.arange(shop.categories + 1)),
        line_items=np.searchsorted(line, np.arange(lines + 1)),
        age_tastes=np.exp(rng.normal(0, _AGE_SPREAD, (len(AGES), shop.categories))),
        price=np.maximum(np.round(shop.price * np.exp(of_category[category] + of_item), 2), 0.01),
        quality={stage: rng.uniform(low, high, shop.items) for stage in STAGES},
        table=_table(shop, ids, category, line, rng),
    )


def _categories(shop: Assortment, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each item's category, ordered: one item in each at least, the others in unequal shares."""
    weights = rng.gamma(2.0, size=shop.categories)
    others = rng.choice(shop.categories, size=shop.items - shop.categories, p=weights / weights.sum())
    return np.sort(np.concatenate((np.arange(shop.categories), others)))


def _table(
    shop: Assortment,
    ids: pa.Array,
    category: NDArray[np.int64],
    line: NDArray[np.int64],
    rng: np.random.Generator,
) -> pa.Table:
    department = np.arange(shop.categories) * shop.departments // shop.categories
    departments = [_department(number) for number in range(shop.departments)]
    categories = [f"{departments[of]}-{number:03}" for number, of in enumerate(department)]
    lines = shop.categories * shop.lines
    # A maker has at most one line in a category: its range there.
    makers = max(shop.lines, shop.categories * shop.lines // _MAKERS_PER_CATEGORY)
    of_lines = np.concatenate([rng.choice(makers, shop.lines, replace=False) for _ in range(shop.categories)])
    names = [f"maker_{maker}" for maker in of_lines]
    line_ids = [f"{names[number]}/{categories[number // shop.lines]}" for number in range(lines)]
    brands = np.where(rng.random(lines) < _OWN_BRAND, "own", "national").tolist()
    kind = rng.integers(_TYPES, size=shop.items)
    types = [f"{name} type {number + 1}" for name in categories for number in range(_TYPES)]
    packages = rng.integers(len(_PACKAGES), size=shop.items)
    columns = [
        ids,
        _pick(line_ids, line),
        _pick(departments, department[category]),
        _pick(brands, line),
        _pick(categories, category),
        _pick(types, category * _TYPES + kind),
        _pick(names, line),
        _pick(_PACKAGES, packages),
    ]
    return pa.table(columns, schema=schema.ITEMS)


def _department(number: int) -> str:
    return _DEPARTMENTS[number] if number < len(_DEPARTMENTS) else f"department_{number + 1}"


def _pick(names: Any, index: NDArray[np.int64]) -> pa.Array:  # noqa: ANN401 - a sequence of text
    return pa.array(names, pa.string()).take(pa.array(index))
