"""What is a feature repository, in memory?"""

import copy
from typing import Any

from recsys.errors import FeatureError
from recsys.ports import Definitions


class FakeFeatureRepository:
    """`ports.FeatureRepository` whose files are a dictionary, free to be changed."""

    def __init__(self, files: dict[str, dict[str, dict[str, Any]]]) -> None:
        """Hold the files; nothing is applied yet."""
        self.files = files
        self.applies = 0
        self.refuses = False
        self._registered: Definitions = {}

    def declared(self) -> Definitions:
        """Return what the files define."""
        return copy.deepcopy(self.files)

    def registered(self) -> Definitions:
        """Return what was applied last."""
        return copy.deepcopy(dict(self._registered))

    def apply(self) -> None:
        """Take over what the files define, or refuse where a test asks for that."""
        if self.refuses:
            message = "feast apply in feature_repo/: failed: the registry cannot be written"
            raise FeatureError(message)
        self.applies += 1
        self._registered = copy.deepcopy(self.files)
