"""Which items go with which? Two item-item models fitted on units' histories: co-visitation and EASE^R.

Both are one matrix W of items × items, and both score a unit alike: the sum over its history of strength × row.

- `model`: `interactions`, the matrix they are fitted on; `ItemModel`, how they score
- `cooccurrence`: `covisitation`, the cosine of two items' columns with a shrunk denominator, the strongest neighbours
  of each item; sparse, for any catalogue
- `linear`: `ease`, the closed-form linear model of Steck (2019); dense, for catalogues whose Gram matrix fits into
  memory, which `ease_memory` states
"""

from recsys.candidates.item_models.cooccurrence import covisitation
from recsys.candidates.item_models.linear import ease, ease_memory
from recsys.candidates.item_models.model import ItemModel, interactions

__all__ = ["ItemModel", "covisitation", "ease", "ease_memory", "interactions"]
