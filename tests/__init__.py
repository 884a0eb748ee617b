"""The tests. What holds for all of them, whichever runner imports them, is set here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does, so that a deadline makes tests fail at random.
settings.register_profile("smartproxy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("smartproxy")
