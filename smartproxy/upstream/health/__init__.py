"""Active checks: is a target up, before a client has to find out.

``checks`` asks a target once: itself by ``connect`` and ``tls``, by ``script``, by ``http_request`` over an ``http_exchange``, or by the
callable of a ``program``; over ``connections``, which are opened as those of clients are. ``checker`` asks one target again and
again when its ``schedule`` says so, ``rise_and_fall`` counts the results, and ``service`` keeps a checker for every target that
is to be checked.
"""
