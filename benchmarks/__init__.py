"""Benchmarks of smartproxy against other proxies, in CPU time of the proxy process per unit of work.

``make bench`` (``python -m benchmarks``) runs every workload; ``docs/benchmarks/README.rst`` says how it is
measured and how to read it. One subject a module:

* ``pythons``: the builds of smartproxy beside the interpreted one: on Debian's Python, and compiled;
* ``processes``: the processes started, their CPU time and memory, and that they end;
* ``contestants``: the proxies compared, and each one's configuration for a job;
* ``backends``, ``messages``: the servers behind the proxies, and the clients' first bytes;
* ``bulk``, ``connections``, ``saturation``, ``idle``, ``look_up`` (with ``routes``), ``tls``: the workloads;
* ``series``: interleaved rounds; ``scorecard``: the bars; ``report``: tables and JSON; ``chart``: SVG; ``machine``: hardware and versions.

The workloads that run proxies import nothing of :mod:`smartproxy`, so that the measured code does not measure itself.
"""
