"""What Prometheus reads: requests, latency, refusals by reason, age of verdicts, freshness of what features rest on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from serving.desk import ScoreDesk
    from serving.endpoints import Endpoint

KIND = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_OTHER_PATH = "other"
_MOST_REASONS = 200
"""Titles of refusals are few; should one ever hold a value, this keeps the metric small."""


class ServiceMetrics:
    """The service's own registry: nothing that other packages count is shown.

    Parameters
    ----------
    endpoints : iterable of Endpoint
        Paths that are counted by name; all others are ``other``, since anybody can invent paths.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.registry = CollectorRegistry()
        labels = ("endpoint", "method")
        self._requests = Counter("ennakko_requests", "Requests answered.", (*labels, "status"), registry=self.registry)
        self._seconds = Histogram(
            "ennakko_request_seconds", "From first byte to answer.", labels, buckets=_SECONDS, registry=self.registry
        )
        self._refusals = Counter(
            "ennakko_refusals", "Requests refused, by reason.", ("endpoint", "reason"), registry=self.registry
        )
        self._rows = Counter(
            "ennakko_scored_rows", "People a score was given for.", ("endpoint",), registry=self.registry
        )
        self.dropped_lines = Counter(
            "ennakko_log_lines_dropped", "Lines of the request log that nobody read in time.", registry=self.registry
        )
        # Where several workers count, prometheus_client keeps their counts in files of this folder.
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
        said = "Processes that answer."
        self.workers = Gauge("ennakko_workers", said, multiprocess_mode="livesum", registry=self.registry)
        said, labels = "A shadow beside the champion, when last compared.", ("need", "figure")
        self._shadow = Gauge("ennakko_shadow", said, labels, multiprocess_mode="mostrecent", registry=self.registry)
        self._of_desk: _OfDesk | None = None
        self._names = {(endpoint.path, endpoint.method) for endpoint in endpoints}
        self._kept: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._reasons: dict[tuple[str, str], Any] = {}
        self._rows_of: dict[str, Any] = {}

    def watch(self, desk: ScoreDesk) -> None:
        """Tell of a desk's verdicts and city whenever asked."""
        self._of_desk = _OfDesk(desk)

    def count(self, path: str, method: str, status: int, seconds: float, refusal: str, rows: int) -> None:
        """Count one request."""
        key = (path, method, status)
        kept = self._kept.get(key)
        if kept is None:
            name = path if (path, method) in self._names else _OTHER_PATH
            labels = (name, method if name != _OTHER_PATH else "any")
            kept = self._requests.labels(*labels, str(status)), self._seconds.labels(*labels)
            if name != _OTHER_PATH:
                self._kept[key] = kept
        kept[0].inc()
        kept[1].observe(seconds)
        if refusal:
            self._refused(path if (path, method) in self._names else _OTHER_PATH, refusal)
        if rows:
            kept_rows = self._rows_of.get(path)
            if kept_rows is None:
                kept_rows = self._rows_of[path] = self._rows.labels(path)
            kept_rows.inc(rows)

    def show_shadow(self, need_id: str, figures: Mapping[str, Any]) -> None:
        """How a need's shadow stands to its champion (:class:`serving.shadows.Comparison`)."""
        for name in ("n", "k", "rank_correlation", "overlap", "mean_difference"):
            value = figures.get(name)
            self._shadow.labels(need_id, name).set(float("nan") if value is None else float(value))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it; of all workers together."""
        whole = self.registry
        if self._folder:
            whole = CollectorRegistry()
            MultiProcessCollector(whole, self._folder)  # type: ignore[no-untyped-call]
        if self._of_desk is None:
            return generate_latest(whole)
        desk = CollectorRegistry()
        desk.register(self._of_desk)
        return generate_latest(whole) + generate_latest(desk)

    def _refused(self, path: str, reason: str) -> None:
        key = (path, reason)
        if key not in self._reasons:
            if len(self._reasons) >= _MOST_REASONS:
                key = (path, "other")
            self._reasons[key] = self._refusals.labels(*key)
        self._reasons[key].inc()


_LEFT = "Until the verdict, a key that signed it or its policy, or what founds its words is out of date."


class _OfDesk:
    """What is only known when asked: how old verdicts are, how long they hold, how old the city's data is."""

    def __init__(self, desk: ScoreDesk) -> None:
        self._desk = desk

    def collect(self) -> Iterable[Any]:
        """Gauges of this moment."""
        now = datetime.now(UTC)
        age = GaugeMetricFamily("ennakko_verdict_age_seconds", "Since the verdict was issued.", labels=["need"])
        left = GaugeMetricFamily("ennakko_verdict_seconds_left", _LEFT, labels=["need"])
        trusted = GaugeMetricFamily("ennakko_need_trusted", "1 while scores of the need may leave.", labels=["need"])
        for need_id, guarded in sorted(self._desk.guarded.items()):
            verdict = guarded.champion.verified.verdict
            age.add_metric([need_id], (now - verdict.issued_at).total_seconds())
            left.add_metric([need_id], (guarded.champion.holds_until - now).total_seconds())
            trusted.add_metric([need_id], float(guarded.may_score(now)))
        extract = self._desk.city.extract_date
        days = (now.date() - extract).days
        freshness = GaugeMetricFamily("ennakko_feature_age_days", "Since the extract date of the city's data.", days)
        yield from (age, left, trusted, freshness)
