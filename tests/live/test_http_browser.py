"""A browser that loads a page over TLS that ends in the proxy, and holds a WebSocket."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from unittest import SkipTest

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until
from tests.live.web import Pages, frame, read_frame, serving, websocket_accept

_PAGE = b"""<!doctype html><title>one</title><script>
const told = (what) => fetch("/told", {method: "POST", body: JSON.stringify(what)});
const socket = new WebSocket(`wss://${location.host}/socket`, "chat");
let count = 0;
socket.onopen = () => socket.send("hello");
socket.onmessage = (event) => {
  count += 1;
  if (count < 5) socket.send("x".repeat(count * 30000));
  else told({last: event.data.length, protocol: socket.protocol, host: location.host});
};
socket.onerror = () => told({failed: true});
</script>"""

#: The opcode of a frame that ends a WebSocket (RFC 6455, 5.2).
_CLOSE = 8


class Site(Pages):
    """The page, its WebSocket, which echoes, and what the page tells."""

    told: list

    def page(self):
        if self.path == "/told":
            self.told.append((json.loads(b"".join(self.pieces())), dict(self.headers)))
        return (200, "text/html", _PAGE) if self.path == "/" else (204, "text/plain", b"")

    def do_GET(self):
        if self.path == "/socket":
            self.talk()
        else:
            super().do_GET()

    do_POST = do_HEAD = do_GET

    def talk(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", websocket_accept(self.headers["Sec-WebSocket-Key"]))
        self.send_header("Sec-WebSocket-Protocol", "chat")
        self.end_headers()
        while True:
            begin, payload = read_frame(self.rfile)
            if begin & 0x0F == _CLOSE:
                break
            self.wfile.write(frame(begin, payload))
        self.close_connection = True


class BrowserTests(TlsCase):
    def test_page_and_websocket(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            raise SkipTest("chromium is not installed")
        site = type("ThisSite", (Site,), {"told": []})
        port = self.port()
        made = self.ending("one", port, serving(self, site))
        made["action"]["protocol"] = "http"
        proxy = self.proxy(made)
        self.program(
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={self.directory / 'profile'}",
            f"--ignore-certificate-errors-spki-list={self.key_digest()}", f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
            "--remote-debugging-port=0", f"https://{NAME}:{port}/",
        )  # fmt: skip
        (told, headers) = until(lambda: site.told and site.told[0], "the page's report", within=90)
        self.assertEqual(told, {"last": 120000, "protocol": "chat", "host": f"{NAME}:{port}"})
        self.assertEqual(headers["X-Forwarded-Proto"], "https")
        self.assertEqual(headers["Host"], f"{NAME}:{port}")
        self.assertTrue(any(each["tls"] for each in proxy.connections))

    def key_digest(self):
        """The digest of the certificate's key, by which the browser is told to accept it."""
        certificate = x509.load_pem_x509_certificate((self.directory / f"{NAME}.pem").read_bytes())
        key = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(hashlib.sha256(key).digest()).decode()
