"""What does a retrieval hand back? Arrow, computed when asked, on-demand views included."""

from collections.abc import Callable

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from recsys.adapters.asof_offline_store import saved_dataset


class ArrowRetrievalJob(RetrievalJob):
    """A retrieval that gives Arrow and runs when asked."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        *,
        repo_path: str,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        """Keep what to run; `to_arrow` and `to_df` apply the on-demand views to its result."""
        self._run = run
        self._repo_path = repo_path
        self._on_demand_feature_views = on_demand_feature_views or []
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        del timeout
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views computed from the joined rows."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Run and write the result, on-demand features and all columns of the entity rows included, as parquet."""
        table = self.to_arrow(timeout=timeout)
        saved_dataset.write(table, storage, self._repo_path, allow_overwrite=allow_overwrite)
