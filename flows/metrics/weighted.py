"""A histogram that takes many observations at once: the flow knows counts, and never loops over events."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class WeightedHistogram(Collector):
    """A histogram with one label, of which each observation stands for several events.

    Lives in this process alone: workers that share their metrics do not share this one.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ):
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = np.array(buckets, np.float64)
        self._lock = threading.Lock()
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(
        self, value: str, amounts: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]
    ) -> None:
        """Add so many observations of each amount to the series of a label's value."""
        places = np.searchsorted(self._bounds, amounts, side="left")
        counts = np.bincount(places, weights, self._bounds.size + 1).astype(np.int64)
        total = float(np.dot(amounts, weights))
        with self._lock:
            before = self._counts.get(value)
            self._counts[value] = counts if before is None else before + counts
            self._sums[value] = self._sums.get(value, 0.0) + total

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give the series as they are."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        bounds = [*map(floatToGoString, self._bounds.tolist()), "+Inf"]
        with self._lock:
            for value, counts in self._counts.items():
                cumulative = np.cumsum(counts).astype(float).tolist()
                family.add_metric(
                    [value], list(zip(bounds, cumulative, strict=True)), self._sums[value]
                )
        yield family
