"""Writes the metrics as text, in the two formats that Prometheus reads.

::

    page, content_type = exposition(families(registry, counters), accept="application/openmetrics-text")
    body = b"".join(page)

Every Prometheus reads text format 0.0.4; a scraper gets OpenMetrics 1.0 if its ``Accept`` header names it. The formats
differ in the name of a counter in its HELP and TYPE lines (with or without ``_total``) and in the last line.

prometheus-client creates an object per sample and takes half a second for ten thousand routes, during which the reactor is
blocked. This module writes the lines directly, in pieces of about half a millisecond between which the caller can return to
the event loop, and takes a tenth of the time in total. Tests compare it with the parsers and writers of prometheus-client.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from smartproxy.metrics.family import HistogramFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smartproxy.metrics.family import Kind, MetricFamily
    from smartproxy.metrics.histogram import Histogram

#: https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info
TEXT = "text/plain; version=0.0.4; charset=utf-8"
#: OpenMetrics 1.0, "Overall Structure".
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
FORMATS = (TEXT, OPENMETRICS)

#: Rows in one piece, and histograms, which have about sixteen lines each: about half a millisecond.
_ROWS, _HISTOGRAMS = 1000, 100
_SUFFIX: dict[Kind, str] = {"counter": "_total", "gauge": "", "info": "_info"}
#: Placeholder of the route name in a template. The configuration allows no NUL in a name.
_HERE = "\0"


def exposition(
    shown: Iterable[MetricFamily | HistogramFamily], accept: str = ""
) -> tuple[Iterator[bytes], str]:
    """Return the page of one scrape in pieces, and its content type.

    :param shown: the families of the page.
    :param accept: the ``Accept`` header of the scraper, or one of :data:`FORMATS`.
    """
    content_type = negotiated(accept)
    write = _openmetrics if content_type == OPENMETRICS else _text
    return write(shown), content_type


def negotiated(accept: str) -> str:
    """The content type for a scraper with this ``Accept`` header, one of :data:`FORMATS`.

    The version in the header is ignored: the content type names the version that is written.
    """
    kinds = {offer.partition(";")[0].strip().lower() for offer in accept.split(",")}
    return OPENMETRICS if "application/openmetrics-text" in kinds else TEXT


def _text(shown: Iterable[MetricFamily | HistogramFamily]) -> Iterator[bytes]:
    for family in shown:
        if isinstance(family, HistogramFamily):
            yield _head(family.name, "histogram", family.meaning)
        else:
            kind = "gauge" if family.kind == "info" else family.kind
            yield _head(family.name + _SUFFIX[family.kind], kind, family.meaning)
        yield from _lines(family)


def _openmetrics(shown: Iterable[MetricFamily | HistogramFamily]) -> Iterator[bytes]:
    for family in shown:
        kind = "histogram" if isinstance(family, HistogramFamily) else family.kind
        yield _head(family.name, kind, family.meaning)
        yield from _lines(family)
    yield b"# EOF\n"


def _head(name: str, kind: str, meaning: str) -> bytes:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n".encode()


def _lines(family: MetricFamily | HistogramFamily) -> Iterator[bytes]:
    if isinstance(family, HistogramFamily):
        made = (_of_histogram(family.name, route, it) for route, it in family.rows)
        return _pieces(made, _HISTOGRAMS)
    line = _line(family)
    return _pieces((line(*row) for row in family.rows), _ROWS)


def _pieces(lines: Iterator[str], most: int) -> Iterator[bytes]:
    while piece := "".join(islice(lines, most)):
        yield piece.encode()


def _line(family: MetricFamily) -> Callable[[tuple[str, ...], float], str]:
    """Return a function that writes a row. The common case of one label is a separate one, because it is the fastest."""
    sample = family.name + _SUFFIX[family.kind]
    if not family.labels:
        return lambda _values, number: f"{sample} {number}\n"
    if len(family.labels) == 1:
        start = f'{sample}{{{family.labels[0]}="'
        return lambda values, number: f'{start}{_escaped(values[0])}"}} {number}\n'

    def several(values: tuple[str, ...], number: float) -> str:
        pairs = sorted(zip(family.labels, values, strict=True))
        labels = ",".join([f'{label}="{_escaped(value)}"' for label, value in pairs])
        return f"{sample}{{{labels}}} {number}\n"

    return several


def _of_histogram(name: str, route: str | None, histogram: Histogram) -> str:
    """The lines of one histogram: every bucket, the count and the sum."""
    counts = list(accumulate(histogram.counts))
    lines = _template(name, histogram.bounds, labelled=route is not None)
    if route is not None:
        # The name goes through the % operator below with the rest of the template.
        lines = lines.replace(_HERE, _escaped(route).replace("%", "%%"))
    return lines % (*counts, counts[-1], histogram.total)


@cache
def _template(name: str, bounds: tuple[float, ...], *, labelled: bool) -> str:
    more, alone = (f',route="{_HERE}"', f'{{route="{_HERE}"}}') if labelled else ("", "")
    buckets = [f'{name}_bucket{{le="{bound}"{more}}} %d\n' for bound in (*bounds, "+Inf")]
    return "".join([*buckets, f"{name}_count{alone} %d\n", f"{name}_sum{alone} %r\n"])


def _escaped(value: str) -> str:
    """A label value with backslash, quote and newline escaped, as both formats require."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
