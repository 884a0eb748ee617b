"""HTTP between clients and targets, message by message.

``downstream1`` reads requests of a client, one after the other, and writes the answers; ``upstream1`` carries one to a target;
``interfaces`` is what the two ask of each other. ``body`` reads and writes bodies, ``forwarded`` makes the heads that are sent
on, and ``errors`` the answers of the proxy itself.
"""
