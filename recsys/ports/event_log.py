"""What was shown, what came of it, and what was decided?"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import pyarrow as pa

MADE_AT: Final = "made_at"
"""In `asked` of an exposure that was sent from a batch: the moment that its features and scores are of."""


@dataclass(frozen=True)
class ShownItem:
    """One slot of an answered list."""

    item_id: str
    position: int
    """From 1."""
    score: float
    propensity: float = 1.0
    """Probability with which the policy put this item into this slot."""


@dataclass(frozen=True)
class Exposure:
    """One answered request."""

    request_id: str
    placement: str
    user_id: str
    session_id: str | None
    experiment: str | None
    arm: str | None
    overridden: bool
    """True where a tester's override chose the arm: served, not analysed."""
    model_version: str | None
    """The logic that answered, or None when no model did."""
    weights: int | None
    """The registry's number of its weights."""
    fallback: str | None
    """Which step of the fallback ladder answered; None when nothing had to be given up."""
    event_timestamp: datetime
    """By the environment's clock."""
    feature_digest: str
    watermarks: Mapping[str, str]
    """What each view online that the answer read was up to, ISO times: the newest event time of a view that is
    materialized; of one that is keyed by the session, when the newest of the session's rows became known, and nothing
    where it had none."""
    items: Sequence[ShownItem]
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What the request itself brought: `k`, the slots, `candidates`, item ids, where it gave some, and `context`, name
    to number or text (times as ISO texts), where it said something. Of what was sent from a batch also `made_at`, and
    of a campaign's contact `channel`, `capacity` and `rank`."""
    features: Mapping[str, Sequence[Any]] | None = None
    """Of a sample of requests: column to the value of each scored slot, as the model read it; unknown numbers are None,
    times ISO times."""

    @property
    def made_at(self) -> datetime:
        """Return the moment that features and scores are of: before the answer, where a batch was sent later."""
        made_at = self.asked.get(MADE_AT)
        return self.event_timestamp if made_at is None else datetime.fromisoformat(made_at)


@dataclass(frozen=True)
class LedgerEntry:
    """One appended fact about a decision."""

    sequence: int
    """Grows with every entry."""
    transaction: str
    """Joins an intent to its done or reverted."""
    state: str
    """intent, done or reverted."""
    action: str
    """Such as promote, refresh, rollback, start, freeze."""
    subject: str
    """What it is about: a registered model or an experiment."""
    payload: Mapping[str, Any]
    author: str
    event_timestamp: datetime
    """By the environment's clock."""


@dataclass(frozen=True)
class RoutedCount:
    """How often the router of one process gave an arm in one hour, so far; testers are not counted."""

    source: str
    """The process, by a name that no other ever has: a later count of the same replaces an earlier one."""
    experiment: str
    arm: str
    period: datetime
    """The first moment of the hour, by the environment's clock."""
    decided: int
    excused: int = 0
    """Of them, those that rightly have no exposure of their own: a request that was asked again under its id, or whose
    user was forgotten."""

    @staticmethod
    def period_of(moment: datetime) -> datetime:
        """Return the first moment of the hour."""
        return moment.replace(minute=0, second=0, microsecond=0)

    @classmethod
    def key_of(cls, exposure: Exposure) -> tuple[str, str, datetime] | None:
        """Return experiment, arm and period under which an exposure's decision counts; None of one that does not."""
        if exposure.experiment is None or exposure.arm is None or exposure.overridden:
            return None
        return exposure.experiment, exposure.arm, cls.period_of(exposure.event_timestamp)


RoutedCounts = Sequence[RoutedCount] | Callable[[Collection[str]], Sequence[RoutedCount]]
"""Counts, or what gives them by the request ids that are new to the log; asked inside of the transaction."""


@dataclass(frozen=True)
class NewIds:
    """Which ids of a group were not in the log before."""

    requests: frozenset[str]
    events: frozenset[str]


class EventLog(Protocol):
    """Exposures and outcomes, written once by id, and read back as Arrow."""

    def write_exposures(self, exposures: Iterable[Exposure]) -> int:
        """Append exposures; those whose request id is there already are left alone.

        Returns how many were new.
        """
        ...

    def write_outcomes(self, outcomes: pa.Table) -> int:
        """Append rows of `schema.EVENTS`; those whose event id is there already are left alone.

        Returns how many were new.
        """
        ...

    def write_group(self, exposures: Sequence[Exposure], outcomes: pa.Table, routed: RoutedCounts = ()) -> NewIds:
        """Append both in one transaction, by the same rules, and keep counts: all of it is written, or nothing.

        Args:
            exposures: of equal ids the first counts.
            outcomes: rows of `schema.EVENTS`, by the same rule.
            routed: the counts, or what gives them by the request ids that turn out to be new.

        Returns which ids were new.

        Raises:
            DataError: if a value is one that the log cannot keep.
            StoreError: if the log cannot be written.
        """
        ...

    def exposures(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the exposures of a placement with start <= event_timestamp < end, ordered by time and request id.

        Columns: request_id, user_id, session_id, experiment, arm, overridden (bool), model_version, weights (int64),
        fallback, event_timestamp (timestamp[us, UTC]).
        """
        ...

    def recent(self, placement: str, count: int) -> pa.Table:
        """Return so many exposures of a placement at most, the newest first; those of one moment are in no order.

        Columns as of `exposures`.
        """
        ...

    def impressions(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the slots of those exposures: request_id, position (int64), item_id, score, propensity (float64)."""
        ...

    def contexts(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return what those requests said that said something, in no order: request_id, context (a JSON object)."""
        ...

    def with_features(self, placement: str, start: datetime, end: datetime) -> Sequence[str]:
        """Return the ids of those requests whose features are logged with them, ascending."""
        ...

    def outcomes(self, event_type: str, start: datetime, end: datetime) -> pa.Table:
        """Return outcomes of a type with start <= event_timestamp < end, as `schema.EVENTS`."""
        ...

    def routed(self, experiment: str) -> pa.Table:
        """Return an experiment's counts of all processes as `schema.ROUTED`, by arm and period."""
        ...

    def event_types(self) -> Sequence[str]:
        """Return the types of the outcomes that are logged, ascending."""
        ...

    def session_events(self, sessions: Sequence[str], event_types: Sequence[str], first: int) -> pa.Table:
        """Return what is known of some sessions, as `schema.EVENTS`, by session, created_timestamp and event id.

        Args:
            sessions: their ids.
            event_types: of these types only.
            first: so many events of each session at most, those that became known first; of equal times those with
                the smaller event id.
        """
        ...

    def request(self, request_id: str) -> Exposure | None:
        """Return one exposure with its slots, or None."""
        ...

    def ping(self) -> None:
        """Check that the log can be reached.

        Raises:
            StoreError: naming the log and what to do.
        """
        ...


class Decisions(Protocol):
    """What was decided so far."""

    def entries(self, subject: str | None = None) -> Sequence[LedgerEntry]:
        """Return entries in order, of one subject or of all."""
        ...


class Ledger(Decisions, Protocol):
    """An append-only audit of decisions; lives in the event log's database."""

    def position(self) -> int:
        """Return the sequence number of the last entry; 0 before the first."""
        ...

    def append(
        self,
        *,
        transaction: str,
        state: str,
        action: str,
        subject: str,
        payload: Mapping[str, Any],
        author: str,
        at: datetime,
    ) -> LedgerEntry:
        """Append one entry and return it with its sequence number."""
        ...
