"""``twistd smartproxy``."""

from twisted.application.service import ServiceMaker

smartproxy = ServiceMaker(
    "smartproxy",
    "smartproxy.tap",
    "A TCP and TLS proxy",
    "smartproxy",
)
