"""What is counted and measured, and how Prometheus reads it.

Bytes are counted in the :class:`~smartproxy.model.record.ConnectionRecord`, everything else in the
:class:`~smartproxy.metrics.counters.Counters`, by whoever causes it. The rest of this package reads them, on request.
"""
