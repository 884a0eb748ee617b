"""Twisted primitives without policy: a side's buffer, deadlines, a clock, callables, threads, tables of states.

``side`` is the protocol on either transport of a connection; ``deadline`` is the coarse clock; ``states`` is how objects on the
byte path declare their states. Nothing here knows a socket.
"""
