"""The metrics as text, in the two formats that Prometheus reads.

::

    page, content_type = exposition(registry, counters, accept="application/openmetrics-text")
    body = b"".join(page)

Text format 0.0.4 is what every Prometheus reads; OpenMetrics 1.0 is given to whoever asks for it. They differ in
whether a counter's name has its ``_total`` in its own description, and in the last line.

prometheus-client makes an object of every sample and takes half a second for ten thousand routes, in which no
connection moves. This writes lines, a few hundred at a time, and whoever serves them may let others run between:
the whole of such a page takes a tenth of that. Tests hold it against prometheus-client, both its parsers and its writers.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from smartproxy.metrics.families import HistogramFamily, families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.families import Kind, MetricFamily
    from smartproxy.metrics.histogram import Histogram
    from smartproxy.metrics.source import ConnectionSource

#: https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info
TEXT = "text/plain; version=0.0.4; charset=utf-8"
#: OpenMetrics 1.0, "Overall Structure".
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Rows in one piece, and histograms, of which each is some sixteen lines: about half a millisecond.
_ROWS, _HISTOGRAMS = 1000, 100
_SUFFIX: dict[Kind, str] = {"counter": "_total", "gauge": "", "info": "_info"}
#: Stands in a template where the route's name goes. A name of the configuration has no NUL.
_HERE = "\0"


def exposition(
    registry: ConnectionSource, counters: Counters, accept: str = ""
) -> tuple[Iterator[bytes], str]:
    """One scrape, in pieces, and its content type.

    :param accept: the scraper's ``Accept`` header. A version that it asks for is not repeated: it would be of
        the client's invention.
    """
    kinds = {offer.partition(";")[0].strip().lower() for offer in accept.split(",")}
    if "application/openmetrics-text" in kinds:
        return _openmetrics(registry, counters), OPENMETRICS
    return _text(registry, counters), TEXT


def _text(registry: ConnectionSource, counters: Counters) -> Iterator[bytes]:
    for family in families(registry, counters):
        if isinstance(family, HistogramFamily):
            yield _head(family.name, "histogram", family.meaning)
        else:
            kind = "gauge" if family.kind == "info" else family.kind
            yield _head(family.name + _SUFFIX[family.kind], kind, family.meaning)
        yield from _lines(family)


def _openmetrics(registry: ConnectionSource, counters: Counters) -> Iterator[bytes]:
    for family in families(registry, counters):
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


def _line(family: MetricFamily) -> Callable[[tuple[str, ...], int], str]:
    """Writes a row: a function for each number of labels, for most have one, and there may be many."""
    sample = family.name + _SUFFIX[family.kind]
    if not family.labels:
        return lambda _values, number: f"{sample} {number}\n"
    if len(family.labels) == 1:
        start = f'{sample}{{{family.labels[0]}="'
        return lambda values, number: f'{start}{_escaped(values[0])}"}} {number}\n'

    def several(values: tuple[str, ...], number: int) -> str:
        pairs = sorted(zip(family.labels, values, strict=True))
        labels = ",".join([f'{label}="{_escaped(value)}"' for label, value in pairs])
        return f"{sample}{{{labels}}} {number}\n"

    return several


def _of_histogram(name: str, route: str | None, histogram: Histogram) -> str:
    """A line for each bucket, one for their number and one for their sum."""
    counts = list(accumulate(histogram.counts))
    lines = _template(name, histogram.bounds, labelled=route is not None)
    if route is not None:
        lines = lines.replace(_HERE, _escaped(route).replace("%", "%%"))
    return lines % (*counts, counts[-1], histogram.total)


@cache
def _template(name: str, bounds: tuple[float, ...], *, labelled: bool) -> str:
    more, alone = (f',route="{_HERE}"', f'{{route="{_HERE}"}}') if labelled else ("", "")
    buckets = [f'{name}_bucket{{le="{bound}"{more}}} %d\n' for bound in (*bounds, "+Inf")]
    return "".join([*buckets, f"{name}_count{alone} %d\n", f"{name}_sum{alone} %r\n"])


def _escaped(value: str) -> str:
    """A label's value as both formats want it: the backslash, the quote and the end of a line."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
