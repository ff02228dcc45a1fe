"""What is a store of item-item models, in memory?"""

from recsys.ports import ItemWeights


class FakeItemModels:
    """`ports.ItemModelStore` in dictionaries."""

    def __init__(self) -> None:
        """Hold no model."""
        self._models: dict[str, ItemWeights] = {}
        self._written = 0
        self._generations: dict[str, str] = {}

    def write(self, key: str, model: ItemWeights) -> None:
        """Put a model in the place of the key's present one."""
        self._written += 1
        self._models[key] = model
        self._generations[key] = str(self._written)

    def read(self, key: str) -> ItemWeights | None:
        """Return the key's present model."""
        return self._models.get(key)

    def generation(self, key: str) -> str | None:
        """Return which write the key's model comes from."""
        return self._generations.get(key)

    def keep(self, keys: frozenset[str]) -> None:
        """Remove every model of another key."""
        for key in set(self._models) - keys:
            del self._models[key]
            del self._generations[key]
