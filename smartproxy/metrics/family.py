"""A metric family: its name, type, help text, labels and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.metrics.histogram import Histogram

Kind: TypeAlias = Literal["counter", "gauge", "info"]


class MetricFamily(NamedTuple):
    """A metric with one number per set of label values.

    :ivar name: without the suffix of its samples (``_total``, ``_info``).
    :ivar meaning: the HELP text.
    :ivar rows: label values and number. Can be read once; a reader may pause in between.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...]
    rows: Iterable[tuple[tuple[str, ...], float]]


class HistogramFamily(NamedTuple):
    """A metric with a histogram per route, or one of the whole proxy.

    :ivar rows: route name and histogram; the name is ``None`` for the whole proxy.
    """

    name: str
    meaning: str
    rows: Iterable[tuple[str | None, Histogram]]
