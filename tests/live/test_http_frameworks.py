"""Web frameworks behind the proxy: what they take for the client, the host and the scheme, as their documentation sets them up."""

from __future__ import annotations

import http.client
import json
import sys
from importlib.util import find_spec
from unittest import SkipTest

from tests.live.case import route
from tests.live.programs import environment
from tests.live.terminating import NAME, TlsCase
from tests.live.web import fetched

_SERVE = """
from wsgiref.simple_server import make_server
make_server("127.0.0.1", {port}, application).serve_forever()
"""
_DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import re_path
def told(request):
    return JsonResponse({{
        "url": request.build_absolute_uri(), "secure": request.is_secure(), "host": request.get_host(),
        "client": request.META["HTTP_X_FORWARDED_FOR"], "port": request.get_port(), "body": len(request.body),
    }})
settings.configure(
    ALLOWED_HOSTS=["one.test"], ROOT_URLCONF=__name__, SECRET_KEY="x", USE_X_FORWARDED_HOST=True,
    USE_X_FORWARDED_PORT=True, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"), MIDDLEWARE=[],
)
urlpatterns = [re_path("", told)]
application = get_wsgi_application()
"""
_FLASK = """
from flask import Flask, jsonify, request
from werkzeug.middleware.proxy_fix import ProxyFix
app = Flask("told")
@app.route("/<path:path>", methods=["GET", "POST"])
def told(path):
    return jsonify(
        url=request.url, secure=request.is_secure, host=request.host, client=request.remote_addr,
        port=request.environ["SERVER_PORT"], body=len(request.get_data()),
    )
application = ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_port=1)
"""


class FrameworkTests(TlsCase):
    def test_django(self):
        self.check("django", _DJANGO)

    def test_flask(self):
        self.check("flask", _FLASK)

    def check(self, package, program):
        if find_spec(package) is None:
            raise SkipTest(f"{package} is not installed")
        upstream, plain, tls = self.port(), self.port(), self.port()
        file = self.file("application.py", (program + _SERVE).format(port=upstream))
        self.program(sys.executable, file, env=environment()).listens(upstream)
        target = {"host": "127.0.0.1", "port": upstream}
        ended = self.ending("tls", tls, target)
        ended["action"]["protocol"] = "http"
        self.proxy(route("plain", plain, target, action={"protocol": "http"}), ended)
        forged = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test"}
        told = self.told(plain, {"Host": f"{NAME}:{plain}", **forged})
        self.assertEqual(told, self.expected("http", plain))
        self.assertEqual(self.told_over_tls(tls), self.expected("https", tls))

    def told(self, port, headers):
        status, _, body = fetched(port, "/a?b=c", "POST", b"x" * 1000, headers)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def told_over_tls(self, port):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = self.secure(port)
        connection.request("POST", "/a?b=c", b"x" * 1000, {"Host": f"{NAME}:{port}"})
        return json.loads(connection.getresponse().read())

    def expected(self, scheme, port):
        return {
            "url": f"{scheme}://{NAME}:{port}/a?b=c", "secure": scheme == "https", "host": f"{NAME}:{port}",
            "client": "127.0.0.1", "port": str(port), "body": 1000,
        }  # fmt: skip
