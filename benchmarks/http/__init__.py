"""Benchmarks of HTTP, compared with haproxy and nginx. ``python -m benchmarks.http`` runs them.

* ``contestants``: the proxies, with one configuration for all workloads: a route by host and path, a list of blocked
  addresses, forwarded fields, an access log, kept connections to the target;
* ``target``: the server behind them, which is nginx for files and small answers, and one in Python for uploads and WebSocket;
* ``wrk``: requests by wrk; ``transfers``, ``tunnels``, ``idle``: clients in Python;
* ``others``: requests a second beside mitmproxy and proxy.py; ``hostile``: the cost of refused requests; each a separate program;
* ``table``: the rows, with their bars.
"""
