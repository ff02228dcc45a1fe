"""By which time does Feast's interface judge a view's TTL?"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from recsys.adapters.packed_online_store.values import aware
from recsys.errors import FeatureError


class ReplayedClockConfig(FeastConfigBaseModel):
    """A clock that stands where a replay has come to; the same as the environment's."""

    replay_from: datetime
    """Where it stands before any replay; UTC unless it says otherwise."""

    position: StrictStr
    """The environment's clock.json, relative to the feature repository."""


def present(config: RepoConfig) -> datetime:
    """Return the time of the configured clock.

    Raises:
        FeatureError: the position of a replayed clock cannot be read.
    """
    clock: Literal["system"] | ReplayedClockConfig = config.online_store.clock
    if isinstance(clock, str):
        return datetime.now(UTC)
    path = Path(config.repo_path or ".", clock.position)
    try:
        return aware(datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["now"]))
    except FileNotFoundError:
        return aware(clock.replay_from)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"online_store.clock.position {path}: cannot be read ({error}): it must be the clock.json of the"
            f" environment's state; delete the file to start at {clock.replay_from:%Y-%m-%d} again"
        )
        raise FeatureError(message) from error
