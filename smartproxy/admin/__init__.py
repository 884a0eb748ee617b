"""The admin listener: metrics, health, and the JSON API under ``/api/v1``.

``site`` is the HTTP server, ``guard`` decides who may speak to it, ``router`` finds who answers, ``api``
answers, and ``views`` says what is shown. All of it stands on
:class:`~smartproxy.admin.control.IProxyControl` and knows nothing else of the running proxy.
"""
