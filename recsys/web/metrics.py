"""What does a service tell Prometheus of itself? One process by itself, or all workers of a server together."""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest, multiprocess
from prometheus_client.registry import Collector

from recsys.ports import Exposure
from recsys.serving.breaker import STATES
from recsys.serving.fleet import Fleet
from recsys.serving.group_commit import GroupCommit

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Labels = tuple[str, ...]


class Metrics:
    """The figures of one process; labels are of what is declared, never of users or items."""

    def __init__(self, fleet: Fleet, log: GroupCommit, folder: str | None = None) -> None:
        """Start at nothing.

        Args:
            fleet: what it serves is read when figures are told, and after each poll.
            log: so is what waits for it.
            folder: in which the workers of one server keep their figures; None of a process that is alone. The client
                library puts them there if the folder was named before it was imported.
        """
        self._fleet = fleet
        self._folder = folder
        self._registry = CollectorRegistry(auto_describe=True)
        self._answers = self._counter(
            "recsys_answers",
            "Answered requests, by who answered and what had to be given up",
            ("placement", "experiment", "arm", "model_version", "fallback"),
        )
        self._seconds = Histogram(
            "recsys_answer_seconds",
            "Time to answer a request, with its turn and its log",
            ("placement",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._lost = self._counter("recsys_exposures_lost", "Answers that were not logged in time", ("placement",))
        self._events = self._counter("recsys_events", "Events received, by whether their id was new", ("result",))
        self._pushes = self._counter(
            "recsys_session_pushes",
            "Batches of events whose sessions' features were pushed online, or could not be",
            ("result",),
        )
        self._push_seconds = Histogram(
            "recsys_session_push_seconds",
            "Time to make and push the features of a batch's sessions",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._responses = self._counter("recsys_responses", "HTTP responses", ("path", "status"))
        self._begin()
        self._states = _States(self._registry)
        self._queue = _Queue(log, self._registry)
        if folder is not None:
            _forget_dead(folder)

    def _begin(self) -> None:
        """Tell what did not happen yet as 0, so that its first time is seen as a rise and not as a new figure."""
        for counter, values in ((self._events, ("new", "known")), (self._pushes, ("pushed", "failed"))):
            for value in values:
                counter.labels(value)

    def _counter(self, name: str, meaning: str, labels: Labels) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def answered(self, exposure: Exposure, seconds: float, *, logged: bool) -> None:
        """Count one answer."""
        self._answers.labels(
            exposure.placement,
            exposure.experiment or "",
            exposure.arm or "",
            exposure.model_version or "",
            exposure.fallback or "",
        ).inc()
        self._seconds.labels(exposure.placement).observe(seconds)
        if not logged:
            self._lost.labels(exposure.placement).inc()

    def received(self, new: int, known: int) -> None:
        """Count events."""
        self._events.labels("new").inc(new)
        self._events.labels("known").inc(known)

    def pushed(self, sessions: int, seconds: float, *, failed: bool) -> None:
        """Count one batch of events whose sessions' features follow; batches without a session are none."""
        if failed or sessions:
            self._pushes.labels("failed" if failed else "pushed").inc()
            self._push_seconds.observe(seconds)

    def responded(self, path: str, status: int) -> None:
        """Count an HTTP response of a declared path."""
        self._responses.labels(path, str(status)).inc()

    def observe(self) -> None:
        """Note what this process serves now."""
        self._states.observe(self._fleet)
        for name in self._fleet:  # from its first poll on, as 0
            self._lost.labels(name)
        self._queue.observe()

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format: of this process, or of all workers of its server."""
        self.observe()
        if self._folder is None:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        together.register(_Together(self._folder))
        return generate_latest(together)


class _Together(Collector):
    """The figures of all workers; Feast keeps some of its feature server in the same folder, which say nothing here."""

    def __init__(self, folder: str) -> None:
        self._all = multiprocess.MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        every: Iterable[Metric] = self._all.collect()  # type: ignore[no-untyped-call]
        yield from (metric for metric in every if metric.name.startswith("recsys_"))


class _States:
    """What is so now, as opposed to what is counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str, labels: Labels, mode: str) -> Gauge:
            return Gauge(name, meaning, labels, registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        self._weights = gauge(
            "recsys_weights",
            "The registry's number of the weights that are served; 0 once they are not",
            ("placement", "model_version"),
            "liveall",
        )
        self._items = gauge("recsys_items", "Items in a placement's matrix", ("placement",), "livemin")
        self._materialized = gauge(
            "recsys_materialized_timestamp_seconds", "Newest event time online", ("placement", "view"), "livemin"
        )
        self._breakers = gauge(
            "recsys_breaker", "0 closed, 1 half-open, 2 open: nobody waits on the store", ("store",), "livemax"
        )
        self._troubles = gauge(
            "recsys_stores_not_followed", "Stores that the last poll could not read", ("placement",), "livemax"
        )
        self._copied = gauge("recsys_from_local_copy", "1 where the local copy answers", ("placement",), "livemax")
        self._refused = gauge(
            "recsys_weights_refused", "Weights that aliases name and that are not served", ("placement",), "livemax"
        )
        self._lock = threading.Lock()
        self._told: set[tuple[Gauge, Labels]] = set()

    def observe(self, fleet: Fleet) -> None:
        """Note what is so; what was and is no more becomes 0, as a label cannot be taken back between processes."""
        found: dict[tuple[Gauge, Labels], float] = {}
        for name, resolver in fleet.items():
            state = resolver.state
            models: dict[str, Any] = dict(state.models)
            if state.champion is not None:
                models[state.champion.weights.model_version] = state.champion
            found |= {(self._weights, (name, version)): model.weights.number for version, model in models.items()}
            found[self._items, (name,)] = len(state.matrix.pool) if state.matrix is not None else 0
            stamps = {view: stamp for view, stamp in state.watermarks.items() if stamp is not None}
            found |= {(self._materialized, (name, view)): stamp.timestamp() for view, stamp in stamps.items()}
            found[self._troubles, (name,)] = len(state.troubles)
            found[self._copied, (name,)] = int(state.copied is not None)
            found[self._refused, (name,)] = len(state.refused)
        for breaker in fleet.stores.breakers:
            found[self._breakers, (breaker.store,)] = STATES.index(breaker.state)
        with self._lock:
            for gauge, labels in self._told - found.keys():
                gauge.labels(*labels).set(0)
            for (gauge, labels), value in found.items():
                gauge.labels(*labels).set(value)
            self._told |= found.keys()


class _Queue:
    """What waits for the event log."""

    def __init__(self, log: GroupCommit, registry: CollectorRegistry) -> None:
        self._log = log
        self._waiting = Gauge(
            "recsys_log_waiting_rows",
            "Exposures, slots and events that wait for the event log",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._lost = Counter(
            "recsys_buffered_exposures_lost",
            "Exposures that were buffered and will never be written",
            registry=registry,
        )
        self._told = 0
        self._lock = threading.Lock()

    def observe(self) -> None:
        """Note what waits, and count what was lost since the last time."""
        self._waiting.set(self._log.waiting)
        with self._lock:
            lost = self._log.lost
            self._lost.inc(lost - self._told)
            self._told = lost


def _forget_dead(folder: str) -> None:
    """Take the states of workers back that ended; what they counted stays."""
    for path in Path(folder).glob("gauge_live*_*.db"):
        process = path.stem.rpartition("_")[2]
        if process.isdigit() and not _alive(int(process)):
            multiprocess.mark_process_dead(int(process), folder)  # type: ignore[no-untyped-call]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
