"""Twisted primitives without policy: sockets, readiness, deadlines. Nothing here knows what a proxy is.

``poller`` is an epoll set within the reactor; ``stream`` a TCP transport on it; ``port`` accepts for it and
``dial`` connects for it. ``deadline`` is the coarse clock. Where there is no epoll, Twisted's own transports
stand in the same places.
"""
