"""What are the columns called that more than one stage reads?

Tables of the shop (parquet, times in UTC with microseconds):

- `events`: one row a version of a thing that happened (`EVENT_TABLE`; sources deliver `EVENTS`);
- `items`: the catalogue, one row an item (`ITEMS`);
- `users`: one row a unit, with its demographics (`USERS`).
"""

from typing import Final

import pyarrow as pa

USER: Final = "user_id"
ITEM: Final = "item_id"
SESSION: Final = "session_id"
LINE: Final = "line_id"
EVENT_ID: Final = "event_id"
EVENT_TYPE: Final = "event_type"
EVENT_TIMESTAMP: Final = "event_timestamp"
CREATED_TIMESTAMP: Final = "created_timestamp"
SUPERSEDED_TIMESTAMP: Final = "superseded_timestamp"
REQUEST_TIMESTAMP: Final = "request_timestamp"
QUANTITY: Final = "quantity"
VALUE: Final = "value"

PAGEVIEW: Final = "pageview"
CLICK: Final = "click"
TRANSFER: Final = "transfer"
PURCHASE: Final = "purchase"
MAILED: Final = "mailed"
REDEEMED: Final = "redeemed"

REQUEST_ID: Final = "request_id"
POSITION: Final = "position"
SCORE: Final = "score"
PROPENSITY: Final = "propensity"
LABEL: Final = "label"

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")

EVENTS: Final = pa.schema(
    [
        (EVENT_ID, pa.string()),
        (EVENT_TYPE, pa.string()),
        (USER, pa.string()),
        (ITEM, pa.string()),
        (SESSION, pa.string()),
        (QUANTITY, pa.float64()),
        (VALUE, pa.float64()),
        (EVENT_TIMESTAMP, TIMESTAMP),
        (CREATED_TIMESTAMP, TIMESTAMP),
    ]
)
"""`event_timestamp` is when it happened, `created_timestamp` when the shop knew of it; `quantity` counts units,
`value` is money in the shop's currency; `item_id` and `session_id` may be null (a mailed campaign has neither).

An event is restated by a second row with the same `event_id` and `event_timestamp` and a later `created_timestamp`: of
the rows of one `event_id` the newest known one counts. A purchase of quantity 0 is a cancelled one."""

EVENT_TABLE: Final = EVENTS.append(pa.field(SUPERSEDED_TIMESTAMP, TIMESTAMP))
"""The shop's event table: all versions of every event; `superseded_timestamp` is when the next version of the event
became known, null for its newest."""

EXPOSURES: Final = pa.schema(
    [
        (REQUEST_ID, pa.string()),
        (USER, pa.string()),
        (SESSION, pa.string()),
        ("experiment", pa.string()),
        ("arm", pa.string()),
        ("overridden", pa.bool_()),
        ("model_version", pa.string()),
        ("weights", pa.int64()),
        ("fallback", pa.string()),
        (EVENT_TIMESTAMP, TIMESTAMP),
    ]
)
"""One row an answered request, as the event log gives it back."""

ROUTED: Final = pa.schema(
    [("arm", pa.string()), ("period", TIMESTAMP), ("decided", pa.int64()), ("excused", pa.int64())]
)
"""One row an arm and hour: how often the router gave it, and how many of these rightly have no exposure."""

CONTEXTS: Final = pa.schema([(REQUEST_ID, pa.string()), ("context", pa.string())])
"""One row an answered request that said something of its moment, as the event log gives it back; `context` is a JSON
object."""

LOGGED_EXPOSURES: Final = pa.schema(
    [
        pa.field("placement", pa.string()),
        *EXPOSURES,
        pa.field("feature_digest", pa.string()),
        pa.field("watermarks", pa.string()),
        pa.field("asked", pa.string()),
        pa.field("features", pa.string()),
    ]
)
"""One row an answered request of any placement, as the event log is exported; `watermarks`, `asked` and `features` are
JSON objects, the last of sampled requests only."""

IMPRESSIONS: Final = pa.schema(
    [
        (REQUEST_ID, pa.string()),
        (POSITION, pa.int64()),
        (ITEM, pa.string()),
        (SCORE, pa.float64()),
        (PROPENSITY, pa.float64()),
    ]
)
"""One row a slot of an answered request; `position` counts from 1."""

ITEMS: Final = pa.schema(
    [
        (ITEM, pa.string()),
        (LINE, pa.string()),
        ("department", pa.string()),
        ("brand", pa.string()),
        ("category", pa.string()),
        ("type", pa.string()),
        ("manufacturer", pa.string()),
        ("package_size", pa.string()),
    ]
)
"""`line_id` is one maker's range within one category: what people stay loyal to when the pack changes."""

USERS: Final = pa.schema(
    [
        (USER, pa.string()),
        ("age", pa.string()),
        ("income", pa.string()),
        ("home_ownership", pa.string()),
        ("marital_status", pa.string()),
        ("household_size", pa.string()),
        ("household_composition", pa.string()),
        ("kids_count", pa.string()),
    ]
)
