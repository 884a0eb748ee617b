"""Sockets and readiness. Nothing here knows what a proxy is.

``poller`` is an epoll set within the reactor; ``stream`` is a TCP transport on it, ``port`` accepts and ``dial`` connects for
it, ``detach`` takes a socket away from its transport. Without epoll, Twisted's own transports are used in their places.
"""
