"""Twisted primitives without policy: sides, deadlines, clocks, callables and threads.

``side`` is the protocol on either transport of a proxied connection, ``deadline`` the coarse clock, ``callables`` calls
an embedder's code, ``threads`` moves slow calls off the event loop. Sockets and readiness are in :mod:`smartproxy.net`.
"""
