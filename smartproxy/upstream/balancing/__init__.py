"""Balancers: each decides which candidate of a group gets the next connection.

A balancer is told which candidates may be chosen (``enter``, ``leave``) and is asked for one (``choose``); it costs a few
microseconds with a thousand candidates. Health, tiers of backups, limits and the queue belong to
:mod:`smartproxy.upstream.group`.
"""
