"""Metrics: counters, rates, percentiles, and their export to Prometheus and Python.

Bytes are counted in the :class:`~smartproxy.model.record.ConnectionRecord`, events in the
:class:`~smartproxy.metrics.counters.Counters`. Everything else here is computed from them when it is read.
"""
