"""Recipes of ``docs/recipes.rst`` with clients and balancers as they are described there."""

from __future__ import annotations

from smartproxy.wire import proxy_tlv, proxy_v1, proxy_v2
from smartproxy.wire.proxy_tlv import Tlv
from tests.live.certificates import Authority
from tests.live.migrating import REFUSED, MigrationCase, blocks, folder

BALANCER = "127.0.0.10"
#: The identifier of a VPC endpoint: type PP2_TYPE_AWS, subtype PP2_SUBTYPE_AWS_VPCE_ID.
VPC = Tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9")


class RecipeTests(MigrationCase):
    def cooked(self, title, ports, targets, changes):
        """The recipe, running; the ports of this test by the port on the page."""
        (configuration,) = blocks("recipes", title)
        taken = {port: self.port() for port in ports}
        return self.ours(configuration, taken, targets, changes), taken

    def test_aws_network_load_balancer(self):
        shop = self.named("shop", header=True, tls="shop.test")
        _, ports = self.cooked(
            "Behind an AWS Network Load Balancer",
            [443, 8405],
            {("10.1.0.11", 8443): shop},
            {"10.0.0.0/24, 10.0.1.0/24": BALANCER},
        )
        header = proxy_v2.build(("198.51.100.7", 40000), ("192.0.2.1", 443), tlvs=[VPC])
        answer = self.over_tls("shop.example.com", header=header, source=BALANCER)(ports[443])
        self.assertEqual(answer, ("shop.test", b"shop:words"))
        self.assertEqual((shop.seen[-1].source[0], shop.seen[-1].tlvs), ("198.51.100.7", (VPC,)))
        check = b"GET / HTTP/1.1\r\nHost: 10.0.0.20\r\nConnection: close\r\n\r\n"
        local = proxy_v2.build(None, None, local=True)
        healthy = self.over_plain(local + check, source=BALANCER)(ports[8405])
        self.assertTrue(healthy.startswith(b"HTTP/1.1 200 "), healthy)
        self.assertEqual(self.over_tls("shop.example.com", source=BALANCER)(ports[443]), REFUSED)

    def test_cloudflare_spectrum(self):
        game = self.named("game")
        proxy, ports = self.cooked(
            "Behind Cloudflare Spectrum",
            [25565],
            {("10.8.0.11", 25565): game},
            {"173.245.48.0/20": BALANCER},
        )
        for client, expected in (("198.51.100.7", b"game:hello\n"), ("203.0.113.9", REFUSED)):
            header = proxy_v1.build((client, 40000), ("192.0.2.1", 25565))
            answer = self.over_plain(b"hello\n", header=header, source=BALANCER)(ports[25565])
            self.assertEqual(answer, expected)
        self.assertEqual(proxy.rejected("ip_blocked"), 1)

    def test_git_over_ssh(self):
        greeting = b"SSH-2.0-server\r\n"
        git = self.named("git", greeting=greeting)
        _, ports = self.cooked("Git over ssh", [2222], {("git.internal", 22): git}, {})
        self.assertEqual(self.over_plain(b"")(ports[2222]), greeting)

    def test_mqtt_devices_are_announced_by_name(self):
        clients = Authority(folder(self, "clients"))
        certificates = folder(self, "certificates")
        self.authority.writing_to(certificates).certificate("machines.example.com")
        broker = self.named("broker", header=True)
        _, ports = self.cooked(
            "MQTT",
            [8883],
            {},
            {
                "host: [10.5.0.11, 10.5.0.12], port: 1883": f"host: 127.0.0.1, port: {broker.port}",
                "certificates: certificates": f"certificates: {certificates}",
                "ca: clients-ca.pem, crl: clients.crl.pem": f"ca: {clients.file}",
            },
        )
        device = clients.certificate("device-1")
        answer = self.over_tls("machines.example.com", certificate=device)(ports[8883])
        self.assertEqual(answer, ("machines.example.com", b"broker:words"))
        told = proxy_tlv.parse_ssl(dict(broker.seen[-1].tlvs)[proxy_tlv.PP2_TYPE_SSL])
        self.assertEqual((told.verify, told.cn), (0, b"device-1"))
        self.assertEqual(self.over_tls("machines.example.com")(ports[8883]), REFUSED)
