"""smartproxy beside others, in CPU of the proxy process per unit of work.

``make bench`` (``python -m benchmarks``) runs every workload; ``docs/benchmarks/README.rst`` says how it is
measured and how to read it. One noun a module:

* ``processes``: what we start, what it costs, and that it ends;
* ``contestants``: each proxy, and how a job is said in its configuration language;
* ``backends``, ``messages``: the other end of a connection, and what a client says first;
* ``bulk``, ``connections``, ``idle``, ``look_up`` (with ``routes``), ``tls``: the workloads;
* ``series``: rounds, interleaved; ``scorecard``: the bars; ``report``: tables and JSON; ``machine``: where.

Nothing here imports :mod:`smartproxy`, except ``routes``: what is measured does not help with measuring.
"""
