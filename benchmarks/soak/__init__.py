"""The soak: the proxy under mixed traffic and faults for a long time. ``python -m benchmarks.soak`` runs it."""
