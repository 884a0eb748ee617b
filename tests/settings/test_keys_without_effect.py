"""Warnings about keys that are valid where they are written and have no effect there; and the same keys where they have one."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Action, Match, Route, Settings, Target
from tests.settings.test_likely_mistakes import TO_HOST, second, warnings_of, written
from tests.settings.tls_case import FileCase

TERMINATED = f"{TO_HOST}, tls: {{mode: terminate, certificate: selfSigned}}"


class TlsTests(FileCase):
    def test_tls_that_no_route_terminates_is_a_warning(self) -> None:
        """The mode is easily forgotten: then clients get the certificate of the target, or none."""
        for key, value in (("minVersion", "'1.3'"), ("profile", "modern")):
            [line] = warnings_of(written(top=f"tls: {{{key}: {value}}}"))
            self.assertTrue(line.startswith(f"x.yaml:1: tls.{key}: is used by no route: write "), line)
        found = self.load(tls={"certificates": "."}).warnings()
        self.assertEqual(
            len([line for line in found if "tls.certificates: is used by no route" in line]), 1, found
        )

    def test_tls_that_a_route_terminates_causes_none(self) -> None:
        top = "tls: {minVersion: '1.3', profile: modern}"
        self.assertEqual(warnings_of(written(top=top, action=TERMINATED)), [])
        self.assertEqual(warnings_of(written(top="tls: {maxHandshakes: 50}")), [])
        off = second("off", "ports: 81", TERMINATED).replace("name: off", "name: off\n    enabled: false")
        self.assertEqual(len(warnings_of(written(top=top, more=off))), 1)


class GroupTests(SynchronousTestCase):
    """In ``targetGroups`` and in the action of a route alike."""

    def lines(self, keys: str, top: str = "") -> list[str]:
        of_route = warnings_of(written(top=top, action=keys))
        shared = f"targetGroups: {{db: {{{keys}}}}}\n"
        of_group = warnings_of(written(top=top + shared, action="group: db"))
        found = [line.replace("routes[0].action", "G").partition(": ")[2] for line in of_route]
        self.assertEqual(
            [line.replace("targetGroups.db", "G").partition(": ")[2] for line in of_group], found
        )
        return found

    def test_reset_without_a_check_is_a_warning(self) -> None:
        [line] = self.lines(f"{TO_HOST}, whenDown: reset")
        self.assertTrue(line.startswith("G.whenDown: has no effect: no target has a healthCheck"), line)
        self.assertEqual(self.lines(f"{TO_HOST}, whenDown: reset, healthCheck: true"), [])
        self.assertEqual(self.lines(f"{TO_HOST}, whenDown: reset", "defaults: {healthCheck: true}\n"), [])
        own = "targets: [{host: a, port: 1}, {host: b, port: 1, healthCheck: true}]"
        self.assertEqual(self.lines(f"{own}, whenDown: reset"), [])
        self.assertEqual(len(self.lines(f"{own.replace('true', 'false')}, whenDown: reset")), 1)

    def test_queue_without_a_limit_is_a_warning(self) -> None:
        [line] = self.lines(f"{TO_HOST}, queue: {{size: 5}}")
        self.assertTrue(line.startswith("G.queue: has no effect: no target has maxConnections"), line)
        self.assertEqual(self.lines("targets: {host: a, port: 1, maxConnections: 5}, queue: {size: 5}"), [])

    def test_weight_where_the_first_target_is_chosen_is_a_warning(self) -> None:
        first = "loadBalancing: {algorithm: first}"
        targets = (
            "targets: [{host: a, port: 1}, {host: b, port: 1, weight: 3}, {host: c, port: 1, weight: 0}]"
        )
        [line] = self.lines(f"{targets}, {first}")
        self.assertTrue(line.startswith("G.targets[1].weight: has no effect: "), line)
        self.assertEqual(self.lines(targets), [])

    def test_targets_that_are_not_written_may_have_what_is_needed(self) -> None:
        target = Target(host="a", port=1)
        keys: dict[str, Any] = {"when_down": "reset", "queue": {"size": 1}}
        action = Action(targets=[target, lambda _: target], **keys)
        settings = Settings(routes=[Route(name="a", match=Match(ports=1), action=action)])
        self.assertEqual(settings.warnings(), [])


class HttpTests(SynchronousTestCase):
    def test_defaults_of_http_without_a_route_that_speaks_it_are_a_warning(self) -> None:
        """They do not make a route speak HTTP: the header of a response would silently be missing."""
        for key, value in (
            ("headers", "{response: {set: {A: b}}}"), ("http", "{maxBodySize: 1MiB}"), ("rewrite", "{host: target}")
        ):  # fmt: skip
            top = f"defaults: {{{key}: {value}}}"
            [line] = warnings_of(written(top=top))
            self.assertTrue(
                line.startswith(f"x.yaml:1: defaults.{key}: has no effect: no route speaks"), line
            )
            for action in (f"{TO_HOST}, protocol: http", "type: redirect, to: 'https://{host}{path}'"):
                self.assertEqual(warnings_of(written(top=top, action=action)), [])
            self.assertEqual(warnings_of(written(top=top, match="ports: 80, path: /a")), [])
        self.assertEqual(warnings_of(written(top="defaults: {errorPages: {}}")), [])

    def test_keys_for_targets_of_an_answer_without_one_are_a_warning(self) -> None:
        for key, value in (("retries", "0"), ("pool", "{maxIdle: 3}")):
            for action in ("type: static, root: /", "type: respond, response: {status: 200}"):
                [line] = warnings_of(written(action=f"{action}, http: {{{key}: {value}}}"))
                self.assertTrue(
                    line.startswith(f"x.yaml:5: routes[0].action.http.{key}: has no effect"), line
                )
        self.assertEqual(
            warnings_of(written(action="type: static, root: /, http: {keepAliveTimeout: 5s}")), []
        )

    def test_keys_of_files_without_effect_are_a_warning(self) -> None:
        for keys, key in (("rewrite: {host: target}", "rewrite.host"), ("spa: true, index: []", "spa")):
            [line] = warnings_of(written(action=f"type: static, root: /, {keys}"))
            self.assertTrue(line.startswith(f"x.yaml:5: routes[0].action.{key}: has no effect"), line)


class ProxyHeaderTests(SynchronousTestCase):
    def test_keys_for_received_headers_are_a_warning_where_none_is_read(self) -> None:
        header = "sendProxyProtocol: {tlvs: [ssl, passThrough]}"
        target = f"targets: [{{host: a, port: 1, {header}}}]"
        for text, place in (
            (written(top="proxyHeaderTimeout: 3s"), "1: proxyHeaderTimeout"),
            (written(top=header), "1: sendProxyProtocol.tlvs"),
            (written(top=f"defaults: {{{header}}}"), "1: defaults.sendProxyProtocol.tlvs"),
            (written(action=f"{TO_HOST}, {header}"), "5: routes[0].action.sendProxyProtocol.tlvs"),
            (written(action=target), "5: routes[0].action.targets[0].sendProxyProtocol.tlvs"),
            (
                written(top=f"targetGroups: {{db: {{{target}}}}}", action="group: db"),
                "1: targetGroups.db.targets[0].sendProxyProtocol.tlvs",
            ),
        ):
            [line] = warnings_of(text)
            self.assertTrue(line.startswith(f"x.yaml:{place}"), line)
            self.assertIn("proxyIPs is empty, so no PROXY header is read", line)
            self.assertEqual(warnings_of(f"{text}proxyIPs: [192.0.2.1]\n"), [])
            [line] = warnings_of(f"{text}proxyIPs: [192.0.2.1]\nacceptProxyProtocol: false\n")
            self.assertIn("acceptProxyProtocol is false, so no PROXY header is read", line)
