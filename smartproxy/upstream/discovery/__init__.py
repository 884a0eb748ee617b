"""Targets that are found while the proxy runs: by name, or in a file.

:class:`~smartproxy.upstream.discovery.service.Discovery` keeps the sources of every group
(:class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`) and configures the group again when one has changed.
Another source, such as a registry of services, is one more class with that interface.
"""
