"""HTTP between clients and targets, message by message.

``downstream1`` reads requests of a client, one after the other, and writes the answers; ``exchange`` is one request and its
answer; ``upstream1`` carries one to a target. ``body`` reads and writes bodies, ``forwarded`` makes the heads that are sent
on, and ``errors`` the answers of the proxy itself.
"""
