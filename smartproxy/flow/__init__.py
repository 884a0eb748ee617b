"""Twisted primitives without policy: sides, deadlines, clocks, callables, threads, tables of states.

``side`` is the protocol on either transport of a proxied connection, ``deadline`` the coarse clock, ``callables`` calls
an embedder's code, ``threads`` moves slow calls off the event loop, ``states`` is how objects on the byte path declare
their states. Sockets and readiness are in :mod:`smartproxy.net`.
"""
