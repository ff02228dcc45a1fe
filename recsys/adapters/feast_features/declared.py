"""What do the files of a feature repository define, applied or not?"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.adapters.feast_features.reader import FeastFeatures
from recsys.adapters.repository_modules import importable, unreadable
from recsys.errors import SpecError

if TYPE_CHECKING:
    from feast import FeatureService, FeatureView, OnDemandFeatureView


class DeclaredFeatures(FeastFeatures):
    """What the repository's files declare, applied or not: enough to check references, not to read values."""

    def __init__(self, repository: Path, configuration: str, *, state: Path | None = None) -> None:
        """Point at a repository; nothing is read before it is needed.

        Args:
            repository: the folder feature_repo/.
            configuration: the Feast YAML inside it.
            state: the state folder that its tables lie in; the files' own default if None.
        """
        super().__init__(repository, configuration)
        self._state = state

    @cached_property
    def store(self) -> Any:  # noqa: ANN401 - the three listings that definitions are read from
        """The parsed repository, with the listings of a feature store."""
        os.environ.setdefault("FEAST_USAGE", "False")
        from feast import Field
        from feast.repo_operations import parse_repo
        from feast.types import String

        try:
            with importable(self._repository, self._state):
                contents = parse_repo(self._repository)
        except SyntaxError as error:
            raise SpecError([unreadable(self._repository, error)]) from error
        except Exception as error:  # whatever a file of the repository raises when it is imported
            said = " ".join(str(error).split())
            message = (
                f"feature repository {self._repository.name}/: {type(error).__name__}: {said}; `feast apply` fails on"
                " it too"
            )
            raise SpecError([message]) from error
        keys = {entity.name: entity.join_key for entity in contents.entities}
        for view in contents.feature_views:
            # `feast apply` fills these in; a file that was only parsed has the names of its entities alone.
            if not view.entity_columns:
                view.entity_columns = [Field(name=keys[name], dtype=String) for name in view.entities if name in keys]
        return _Declared(contents.feature_views, contents.on_demand_feature_views, contents.feature_services)


@dataclass(frozen=True)
class _Declared:
    views: "list[FeatureView]"
    computed: "list[OnDemandFeatureView]"
    services: "list[FeatureService]"

    def list_feature_views(self) -> "list[FeatureView]":
        return self.views

    def list_on_demand_feature_views(self) -> "list[OnDemandFeatureView]":
        return self.computed

    def list_feature_services(self) -> "list[FeatureService]":
        return self.services
