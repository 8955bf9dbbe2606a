"""What the service counts, as text for Prometheus. Nothing is sent: whoever asks gets it. Needs prometheus-client."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from dcdr_deploy.run.reports import FileReport

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """Counters of one service.

    Attributes:
        content_type: of :meth:`text`.
    """

    def __init__(self, taken: Callable[[], float], places: int) -> None:
        """Set up.

        Args:
            taken: tells how many places are taken.
            places: how many there are.
        """
        self.content_type = CONTENT_TYPE_LATEST
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._answers = Counter(
            "dcdr_answers", "Answers to pictures by HTTP status.", ["status"], registry=self._registry
        )
        self._pixels = Counter("dcdr_pixels", "Pixels of restored pictures.", registry=self._registry)
        self._seconds = Histogram(
            "dcdr_stage_seconds",
            "Seconds of a picture by stage; infer includes the wait for the engine.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        waiting = Gauge(
            "dcdr_places_taken", "Pictures that are received, wait or are worked on.", registry=self._registry
        )
        waiting.set_function(taken)
        Gauge("dcdr_places", "Most of them.", registry=self._registry).set(places)

    def answered(self, status: int) -> None:
        """Count an answer."""
        self._answers.labels(str(status)).inc()

    def restored(self, report: FileReport) -> None:
        """Count a picture that was restored."""
        self._pixels.inc(report.width * report.height)
        for stage, seconds in report.stages.items():
            self._seconds.labels(stage).observe(seconds)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)
