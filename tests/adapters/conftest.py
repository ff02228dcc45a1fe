"""What do several files of adapter tests share?"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.adapters.asof_world import Repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> "Repository":
    """Give Feast repositories over the ASOF store and over Feast's duckdb store, with sources that can be written."""
    from tests.adapters.asof_world import make_repository

    return make_repository(tmp_path_factory.mktemp("asof"))
