"""Conflicts of a whole configuration: listeners that collide, and which handlers a check imports."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings import Action, AdminSettings, Match, Route, Settings, Target


def settings(match: Match, **more: Any) -> Settings:
    return Settings(routes=[Route(name="a", match=match, action=Action(type="block"))], **more)


class AdminTests(SynchronousTestCase):
    def collide(self, route: str, admin: str) -> bool:
        made = settings(
            Match(ports="8400-8410", address=route), admin=AdminSettings(address=admin, token="t")
        )
        problems = made.check()
        self.assertIn(problems, ([], ['admin.port: is a port of route "a" (got 8404)']))
        return bool(problems)

    def test_same_address_and_wildcards_collide(self) -> None:
        pairs = [
            ("", "127.0.0.1"), ("", ""), ("", "::1"), ("127.0.0.1", ""), ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "::1"), ("::1", "0:0::1"), ("10.0.0.1", "0.0.0.0"),
        ]  # fmt: skip
        self.assertEqual([pair for pair in pairs if not self.collide(*pair)], [])

    def test_different_addresses_do_not_collide(self) -> None:
        pairs = [("127.0.0.1", "127.0.0.2"), ("0.0.0.0", "::1"), ("::1", "127.0.0.1"), ("::1", "0.0.0.0")]
        self.assertEqual([pair for pair in pairs if self.collide(*pair)], [])

    def test_admin_true_checks_default_address_and_port(self) -> None:
        problems = settings(Match(ports=8404), admin=True).check()
        self.assertEqual(problems, ['admin: is a port of route "a" (got 8404)'])

    def test_unix_socket_collides_with_no_port(self) -> None:
        self.assertEqual(settings(Match(ports=8404), admin=AdminSettings(unix="/run/x")).check(), [])

    def test_disabled_route_collides_with_no_port(self) -> None:
        off = Route(name="off", enabled=False, match=Match(ports=8404), action=Action(type="block"))
        made = settings(Match(ports=80), admin=True)
        self.assertEqual(made.with_routes([*made.routes, off]).check(), [])

    def test_token_that_no_request_can_have_is_refused(self) -> None:
        """That of a block of YAML, or of a file in a variable, ends with a line break: every request got a 401."""
        for token in ("s3cret\n", " s3cret", "s3cret\t", "s3\ncret"):
            [problem] = settings(Match(ports=80), admin=AdminSettings(token=token)).check()
            self.assertTrue(problem.startswith("admin.token: must not have"), problem)
            self.assertNotIn("cret", problem)
        self.assertEqual(settings(Match(ports=80), admin=AdminSettings(token="s3 cr\u00e9t")).check(), [])

    def test_unix_socket_with_a_long_path_is_refused(self) -> None:
        """The proxy could not start."""
        [problem] = settings(Match(ports=80), admin=AdminSettings(unix="/" + "x" * 107)).check()
        self.assertIn("admin.unix: is 108 bytes long; the path of a unix socket has 107 at most", problem)
        self.assertEqual(settings(Match(ports=80), admin=AdminSettings(unix="/" + "x" * 106)).check(), [])

    def test_token_is_required_off_loopback(self) -> None:
        def problems(**admin: Any) -> list[str]:
            return settings(Match(ports=80), admin=AdminSettings(**admin)).check()

        for address in ("127.0.0.1", "127.8.8.8", "::1"):
            self.assertEqual(problems(address=address), [])
        for address in ("", "0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"):
            self.assertEqual([line.partition(":")[0] for line in problems(address=address)], ["admin.token"])
            self.assertEqual(problems(address=address, token="secret"), [])


class HandlerCheckTests(SynchronousTestCase):
    def test_handler_of_disabled_route_is_not_imported(self) -> None:
        handle = Action(type="handler", handler="no.such:thing")
        off = Route(name="off", enabled=False, match=Match(ports=81), action=handle)
        on = Route(name="on", match=Match(ports=80), action=Action(targets=[Target(host="h", port=1)]))
        self.assertEqual(Settings(routes=[on, off]).check(), [])
        self.assertEqual(len(Settings(routes=[on, off.model_copy(update={"enabled": True})]).check()), 1)

    def test_exception_of_imported_module_is_reported(self) -> None:
        handle = Action(type="handler", handler="tests.settings.raises_on_import:thing")
        [problem] = Settings(routes=[Route(name="a", match=Match(ports=80), action=handle)]).check()
        self.assertIn(" or sys.path: ZeroDivisionError: division by zero", problem)


class SilenceTests(SynchronousTestCase):
    def warned(self, **second: Any) -> list[str]:
        def silent(name: str, **match: Any) -> Route:
            asked = Match(**({"ports": "440-443"} | match))
            return Route(name=name, fallback=True, silence="3s", match=asked, action=Action(type="block"))

        return Settings(routes=[silent("a", domains=["a.org"]), silent("b", **second)]).warnings()

    def test_second_route_for_silent_clients_on_a_port_is_doubted(self) -> None:
        message = (
            'routes[1].silence: is set for route "a" on the same port, too: '
            'a silent client goes to the first of them that admits it (got "3s")'
        )
        self.assertEqual(self.warned(ports=443, domains=["b.org"]), [message])
        self.assertEqual(self.warned(ports=444, domains=["b.org"]), [])


class ProxyTlvTests(SynchronousTestCase):
    def test_condition_on_a_header_that_is_never_read_is_doubted(self) -> None:
        match = Match(ports=80, proxy_tlv={"alpn": "h2"})
        where = "routes[0].match.proxyTlv: can never match: "
        self.assertEqual(
            settings(match).warnings(), [f"{where}proxyIPs is empty, so no PROXY header is read"]
        )
        off = settings(match, proxy_ips=["10.0.0.1"], accept_proxy_protocol=False)
        self.assertEqual(off.warnings(), [f"{where}acceptProxyProtocol is false, so no PROXY header is read"])
        self.assertEqual(settings(match, proxy_ips=["10.0.0.1"]).warnings(), [])
