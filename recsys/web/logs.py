"""How does a service speak to whoever collects its logs? One JSON document a line."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

_FIELDS: Final = ("request_id", "method", "path", "status", "ms")
"""What an access line has beside its message."""


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON: time (UTC), level, logger, message, what a request was, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in _FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)
