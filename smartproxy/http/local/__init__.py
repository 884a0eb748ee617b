"""Answers of this process in a target's place: redirects, fixed responses, files, exchange handlers and web resources.

A route that has one keeps what makes its answerers in :attr:`~smartproxy.model.plan.RoutePlan.answers`, compiled at load. An
exchange calls it once, and gets an :class:`~smartproxy.http.interfaces.Answerer`, as of a target.
"""
