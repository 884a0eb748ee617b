"""The admin listener: metrics, health, and the JSON API under ``/api/v1``.

``site`` is the HTTP server, ``guard`` authorises a request, ``router`` finds its endpoint, ``api`` has the endpoints, and
``views`` converts the proxy's objects to JSON values. ``outbox`` sends the replies, ``shared`` lets scrapes share a page,
and ``uploads`` bounds the bodies of requests. The package reaches the running proxy only through
:class:`~smartproxy.admin.control.IProxyControl`.
"""
