"""What the counters add up to, and how Prometheus reads it.

Counting itself happens elsewhere: bytes in the :class:`~smartproxy.model.record.ConnectionRecord`, the rest
in the :class:`~smartproxy.metrics.counters.Counters`. This room only reads, and only when somebody asks.
"""
