"""What does a service tell Prometheus of itself?"""

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from recsys.ports import Exposure
from recsys.serving.resolver import Resolver

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The figures of one process; labels are of what is declared, never of users or items."""

    def __init__(self, resolvers: Mapping[str, Resolver]) -> None:
        """Start at nothing.

        Args:
            resolvers: by placement; what they serve is read when the figures are.
        """
        self._registry = CollectorRegistry(auto_describe=True)
        self._answers = Counter(
            "recsys_answers",
            "Answered requests, by who answered and what had to be given up",
            ("placement", "experiment", "arm", "model_version", "fallback"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "recsys_answer_seconds",
            "Time to answer a request, with its log",
            ("placement",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._lost = Counter(
            "recsys_exposures_lost", "Answers that could not be logged", ("placement",), registry=self._registry
        )
        self._events = Counter(
            "recsys_events", "Events received, by whether their id was new", ("result",), registry=self._registry
        )
        self._pushes = Counter(
            "recsys_session_pushes",
            "Batches of events whose sessions' features were pushed online, or could not be",
            ("result",),
            registry=self._registry,
        )
        self._push_seconds = Histogram(
            "recsys_session_push_seconds",
            "Time to make and push the features of a batch's sessions",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._responses = Counter("recsys_responses", "HTTP responses", ("path", "status"), registry=self._registry)
        self._registry.register(_Served(resolvers))

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

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Served(Collector):
    def __init__(self, resolvers: Mapping[str, Resolver]) -> None:
        self._resolvers = resolvers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        weights = GaugeMetricFamily(
            "recsys_weights",
            "The registry's number of the weights that are served",
            labels=("placement", "model_version"),
        )
        items = GaugeMetricFamily("recsys_items", "Items in a placement's matrix", labels=("placement",))
        materialized = GaugeMetricFamily(
            "recsys_materialized_timestamp_seconds", "Newest event time online", labels=("placement", "view")
        )
        for name, resolver in self._resolvers.items():
            state = resolver.state
            models = dict(state.models)
            if state.champion is not None:
                models[state.champion.weights.model_version] = state.champion
            for version, model in models.items():
                weights.add_metric((name, version), model.weights.number)
            items.add_metric((name,), len(state.matrix.pool) if state.matrix is not None else 0)
            for view, stamp in state.watermarks.items():
                if stamp is not None:
                    materialized.add_metric((name, view), stamp.timestamp())
        yield from (weights, items, materialized)
