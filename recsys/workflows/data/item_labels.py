"""What is each item called, so that a person knows it: by columns of the item table, beside its id?"""

from collections.abc import Iterable
from typing import Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.schema import ITEM
from recsys.workflows.workspace import Workspace

_LONGEST: Final = 60
"""Characters of a label; what is longer is cut."""


def item_labels(workspace: Workspace, items: Iterable[str]) -> dict[str, str]:
    """Return what the environment's `data.item_label` says of some items.

    Args:
        workspace: the project.
        items: ids.

    Returns:
        Item id to label; without the items that have none, or that the table does not have.
    """
    wanted = sorted(set(items))
    table = workspace.tables / "items.parquet"
    declared = workspace.environment.data.item_label
    if not (wanted and declared and table.exists()):
        return {}
    columns = [name for name in declared if name in pq.read_schema(table).names]
    found = pq.read_table(table, columns=list(dict.fromkeys([ITEM, *columns])), filters=pc.field(ITEM).isin(wanted))
    told = {row[ITEM]: ", ".join(str(row[name]) for name in columns if row[name]) for row in found.to_pylist()}
    return {item: _cut(label) for item, label in told.items() if label}


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1].rstrip()}…"
