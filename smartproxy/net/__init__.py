"""Sockets and readiness.

``poller`` is an epoll set within the reactor; ``stream`` is a TCP transport on it; ``port`` accepts for it and ``dial``
connects for it. Where there is no epoll, Twisted's own transports, ports and connectors are used instead.
"""
