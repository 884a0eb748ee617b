"""Automatic certificates in configurations that are refused: each problem has its line, its key and what to write instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Acme, AcmeDns, ConfigurationError, OnDemand
from smartproxy.settings import Settings
from tests.settings.formats import folder

OWN = "https://ca.internal/directory"


class Refused(NamedTuple):
    """Values in a configuration of one route, and the problem.

    :ivar acme: the value of ``acme``; empty leaves it out.
    :ivar domains: the value of ``domains``; empty leaves it out.
    :ivar line: the line of the problem.
    :ivar problem: key and message; ``{folder}`` is the directory of the file.
    """

    acme: str
    domains: str
    line: int
    problem: str
    tls: str = "{mode: terminate, certificate: auto}"
    more: str = ""


def of_acme(acme: str, problem: str) -> Refused:
    return Refused(acme, "a.example.com", 1, problem)


def of_domain(acme: str, domains: str, problem: str) -> Refused:
    return Refused(acme, domains, 6, problem)


_SCRIPT = "dns: {command: dns.sh}"
_NO_URL = 'must be "letsencrypt", "letsencrypt-staging", "zerossl" or an https URL'
_NOT_CERTIFIED = 'is no public name, and directory "letsencrypt" certifies no others'
_PRIVATE = "is a private address, which no authority certifies"
_EMAIL = 'must be an address like "admin@example.com"'
_IMPORTED = "cannot be imported from {folder} or sys.path: ModuleNotFoundError: No module named 'no'"

CASES = {
    # the table by itself
    "email": of_acme("{email: admin}", f'acme.email: {_EMAIL} (got "admin")'),
    "email-mailto": of_acme(
        "{email: 'mailto:a@example.com'}", f'acme.email: {_EMAIL}; write "a@example.com" (got "mailto:a@example.com")'
    ),
    "email-several": of_acme("{email: 'a@b.c,d@b.c'}", f'acme.email: {_EMAIL} (got "a@b.c,d@b.c")'),
    "directory-plain": of_acme(
        "{directory: 'http://127.0.0.1/dir'}",
        'acme.directory: must be an https URL: the directory says where account and orders are sent (got "http://127.0.0.1/dir")',
    ),
    "directory-word": of_acme("{directory: buypass}", f'acme.directory: {_NO_URL} (got "buypass")'),
    "directory-case": of_acme(
        "{directory: Lets Encrypt}", f'acme.directory: {_NO_URL}; did you mean "letsencrypt"? (got "Lets Encrypt")'
    ),
    "directory-user": of_acme(
        "{directory: 'https://u:p@ca.internal/'}", f'acme.directory: {_NO_URL} (got "https://u:p@ca.internal/")'
    ),
    "zerossl": of_acme(
        "{directory: zerossl}", 'acme.eab: is required for directory "zerossl": {keyId, hmacKey} from its website'
    ),
    "eab-key": of_acme("{eab: {keyId: a}}", "acme.eab.hmacKey: is required"),
    "eab-base64": of_acme(
        "{eab: {keyId: a, hmacKey: 'a+b/'}}", "acme.eab.hmacKey: must be base64url: letters, digits, - and _"
    ),
    "eab-cut": of_acme(
        "{eab: {keyId: a, hmacKey: AAAAA}}", "acme.eab.hmacKey: must be base64url: letters, digits, - and _"
    ),
    "challenge": of_acme(
        "{challenge: http}", 'acme.challenge: must be "auto", "http-01", "tls-alpn-01" or "dns-01"; did you mean "http-01"? (got "http")'
    ),
    "key-type": of_acme(
        "{keyType: rsa-4096}", 'acme.keyType: must be "ecdsa-p256" or "rsa-2048" (got "rsa-4096")'
    ),
    "renew-zero": of_acme("{renewBefore: 0}", "acme.renewBefore: must be longer than 0 (got 0)"),
    "port": of_acme("{httpPort: 0}", "acme.httpPort: must be at least 1 (got 0)"),
    "until": of_acme("{until: wait}", 'acme.until: must be "refuse" or "selfSigned" (got "wait")'),
    "unknown": of_acme("{acount: x}", "acme.acount: unknown key"),
    # files, programs and callables
    "ca": of_acme("{ca: no.pem}", "acme.ca: {folder}/no.pem: cannot be read: No such file or directory"),
    "ca-content": of_acme("{ca: dns.sh}", "acme.ca: {folder}/dns.sh: contains no PEM certificate, or a malformed one"),
    "store": of_acme("{store: dns.sh}", 'acme.store: is not a directory (got "dns.sh")'),
    "dns-neither": of_acme("{dns: {}}", "acme.dns: must have one of command and handler"),
    "dns-both": of_acme(
        "{dns: {command: dns.sh, handler: 'a:b'}}", "acme.dns: must have one of command and handler"
    ),
    "dns-missing": of_acme("{challenge: dns-01}", 'acme.dns: is required for challenge "dns-01"'),
    "command-missing": of_acme(
        "{dns: {command: no.sh}}", 'acme.dns.command: {folder}/no.sh: does not exist (got "no.sh")'
    ),
    "command-arguments": of_acme(
        "{dns: {command: dns.sh --now}}",
        'acme.dns.command: {folder}/dns.sh --now: does not exist; it is the path of a program, without arguments (got "dns.sh --now")',
    ),
    "command-on-path": of_acme(
        "{dns: {command: env}}", 'acme.dns.command: {folder}/env: does not exist; write "/usr/bin/env" (got "env")'
    ),
    "command-not-executable": of_acme(
        "{dns: {command: notes}}", 'acme.dns.command: {folder}/notes: is not an executable file (got "notes")'
    ),
    "command-directory": of_acme(
        "{dns: {command: .}}", 'acme.dns.command: {folder}: is not an executable file (got ".")'
    ),
    "handler-form": of_acme(
        "{dns: {handler: change}}", 'acme.dns.handler: must be written "package.module:callable" (got "change")'
    ),
    "handler-import": of_acme("{dns: {handler: 'no:x'}}", f'acme.dns.handler: {_IMPORTED} (got "no:x")'),
    "handler-no-callable": of_acme(
        "{dns: {handler: 'math:pi'}}", 'acme.dns.handler: is not a function or another callable object (got "math:pi")'
    ),
    "handler-arguments": of_acme(
        "{dns: {handler: 'fnmatch:translate'}}",
        'acme.dns.handler: must take 3 arguments: present or cleanup, NAME, VALUE (got "fnmatch:translate")',
    ),
    "ask-missing": of_acme("{onDemand: {}}", "acme.onDemand.ask: is required"),
    "ask-scheme": of_acme(
        "{onDemand: {ask: 'ftp://ask/'}}",
        'acme.onDemand.ask: must be an http or https URL, or "package.module:callable" (got "ftp://ask/")',
    ),
    "ask-import": of_acme("{onDemand: {ask: 'no:x'}}", f'acme.onDemand.ask: {_IMPORTED} (got "no:x")'),
    "ask-arguments": of_acme(
        "{onDemand: {ask: 'fnmatch:fnmatch'}}",
        'acme.onDemand.ask: must take 1 argument: NAME (got "fnmatch:fnmatch")',
    ),
    "ask-rate": of_acme(
        "{onDemand: {ask: 'http://a/', maxPerHour: 0}}", "acme.onDemand.maxPerHour: must be at least 1 (got 0)"
    ),
    "port-of-admin": Refused(
        "{challenge: http-01, httpPort: 8404}", "a.example.com", 1, "acme.httpPort: is the port of admin (got 8404)", more="admin: true"
    ),
    # routes
    "no-acme": Refused(
        "", "a.example.com", 7,
        'routes[0].action.tls.certificate: is "auto", which needs acme at the top level, like "acme: {email: admin@example.com}"',
    ),
    "passthrough": Refused(
        "{}", "a.example.com", 7, 'routes[0].action.tls.certificate: has no meaning for mode "passthrough"', "{certificate: auto}"
    ),
    "in-a-list": Refused(
        "{}", "a.example.com", 7,
        'routes[0].action.tls.certificate[0]: must be a mapping: an automatic certificate cannot be one of several (got "auto")',
        "{mode: terminate, certificate: [auto]}",
    ),
    "automatic": Refused(
        "{}", "a.example.com", 7,
        'routes[0].action.tls.certificate: must be "selfSigned" or "auto" (got "acme")',
        "{mode: terminate, certificate: acme}",
    ),
    "no-domains": Refused(
        "{}", "", 5,
        'routes[0].match.domains: is required for certificate "auto", which is ordered for these names; or set acme.onDemand',
    ),
    "wildcard": of_domain(
        "{}", "'*.example.com'",
        'routes[0].match.domains[0]: is a wildcard, which needs challenge "dns-01": set acme.dns, or acme.onDemand (got "*.example.com")',
    ),
    "wildcard-http": of_domain(
        f"{{challenge: http-01, {_SCRIPT}}}", "[a.example.com, '*.example.com']",
        'routes[0].match.domains[1]: is a wildcard, which needs challenge "dns-01", and acme.challenge is "http-01" (got "*.example.com")',
    ),
    "wildcard-tls": of_domain(
        "{challenge: tls-alpn-01}", "'*.example.com'",
        'routes[0].match.domains[0]: is a wildcard, which needs challenge "dns-01", and acme.challenge is "tls-alpn-01" '
        '(got "*.example.com")',
    ),
    "star": of_domain(
        f"{{{_SCRIPT}}}", "'*'",
        'routes[0].match.domains[0]: is every name, which can be ordered on demand only: set acme.onDemand, or list the names (got "*")',
    ),
    "too-many": of_domain(
        "{}", f"[{', '.join(f'{n}.example.com' for n in range(101))}]",
        "routes[0].match.domains: has 101 names, and a certificate has at most 100: make several routes",
    ),
    "address-dns": of_domain(
        f"{{challenge: dns-01, {_SCRIPT}}}", "8.8.8.8",
        'routes[0].match.domains[0]: is an IP address, which challenge "dns-01" cannot prove (RFC 8738, section 7) (got "8.8.8.8")',
    ),
    "underscore": of_domain(
        "{}", "a_b.example.com",
        'routes[0].match.domains[0]: has a "_", and directory "letsencrypt" certifies host names only (got "a_b.example.com")',
    ),
    "bracketed-address": of_domain(
        "{}", "'[2001:db8::1]:443'",
        'routes[0].match.domains: must be a name like "example.com", "*.example.com" or "*"; write "2001:db8::1" and put 443 in ports '
        '(got "[2001:db8::1]:443")',
    ),
}  # fmt: skip


def loaded(text: str, place: Path) -> Settings:
    (place / "dns.sh").write_text("#!/bin/sh\n")
    (place / "dns.sh").chmod(0o755)
    (place / "notes").write_text("")
    (place / "notes").chmod(0o644)
    (place / "f.yaml").write_text(text)
    return Settings.load(place / "f.yaml")


def text_of(case: Refused) -> str:
    """The configuration: ``acme`` in line 1, ``match`` in line 5, ``domains`` in line 6, ``tls`` in line 7."""
    lines = [
        f"acme: {case.acme}" if case.acme else "# acme",
        case.more,
        "routes:",
        "- name: web",
        "  match: {ports: 443,",
        f"    domains: {case.domains} }}" if case.domains else "    }",
        f"  action: {{type: block, tls: {case.tls}}}",
    ]
    return "\n".join(lines) + "\n"


class AcmeProblemTests(SynchronousTestCase):
    def problems(self, case: Refused) -> list[str]:
        place = folder(self).resolve()
        raised = self.assertRaises(ConfigurationError, loaded, text_of(case), place)
        return [problem.replace(str(place), "{folder}") for problem in raised.problems]

    def test_each_is_refused_once_with_line_key_and_hint(self) -> None:
        for name, case in CASES.items():
            self.assertEqual(self.problems(case), [f"{{folder}}/f.yaml:{case.line}: {case.problem}"], name)

    def test_what_the_cases_change_is_valid(self) -> None:
        """Otherwise another problem of the same text could be the one that a case expects."""
        for acme in ("{}", "{dns: {command: dns.sh}}", "{onDemand: {ask: 'http://127.0.0.1:1/'}}"):
            loaded(text_of(of_acme(acme, "")), folder(self)).compile()

    def test_private_addresses_are_refused_by_any_directory(self) -> None:
        for written in (
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ):
            for directory in ("letsencrypt", OWN):
                case = Refused(f"{{directory: '{directory}'}}", f"'{written}'", 6, "")
                expected = f'{{folder}}/f.yaml:6: routes[0].match.domains[0]: {_PRIVATE} (got "{written}")'
                self.assertEqual(self.problems(case), [expected])

    def test_names_that_no_public_authority_certifies_are_refused(self) -> None:
        for written in (
            "localhost",
            "printer",
            "a.localhost",
            "a.local",
            "a.test",
            "a.invalid",
            "a.internal",
            "a.lan",
            "router.home.arpa",
        ):
            expected = f'{{folder}}/f.yaml:6: routes[0].match.domains[0]: {_NOT_CERTIFIED} (got "{written}")'
            self.assertEqual(self.problems(Refused("{}", written, 6, "")), [expected])

    def test_public_authorities_refuse_wildcards_of_such_names(self) -> None:
        [problem] = self.problems(Refused(f"{{{_SCRIPT}}}", "'*.internal'", 6, ""))
        self.assertIn(_NOT_CERTIFIED, problem)

    def test_reserved_addresses_are_refused_by_public_authorities(self) -> None:
        [problem] = self.problems(Refused("{}", "192.0.2.1", 6, ""))
        self.assertIn("is a reserved address, which no public authority certifies", problem)

    def test_paths_that_the_system_refuses_are_reported(self) -> None:
        """Longer than a name may be, or below a directory that may not be searched: each ended in a traceback."""
        for key, acme in (("store", "{store: %s}"), ("dns.command", "{dns: {command: %s}}")):
            case = of_acme(acme % ("a" * 300), "")
            (problem,) = self.problems(case)
            self.assertIn(f":1: acme.{key}: ", problem)
            self.assertIn("File name too long", problem)

    def test_secret_key_is_not_shown(self) -> None:
        """A message must not repeat the key, also where it came from a variable."""
        self.patch(os, "environ", {"EAB": "not base64url, secret"})
        [problem] = self.problems(of_acme("{eab: {keyId: a, hmacKey: '${EAB}'}}", ""))
        self.assertNotIn("secret", problem)

    def test_disabled_routes_are_checked(self) -> None:
        case = Refused("{}", "'*.example.com'", 6, "", more="")
        text = text_of(case) + "  enabled: false\n- {name: b, match: {ports: 1}, action: {type: block}}\n"
        raised = self.assertRaises(ConfigurationError, loaded, text, folder(self))
        self.assertIn("is a wildcard", raised.problems[0])

    def test_problem_in_acme_is_not_reported_as_missing_acme(self) -> None:
        """With a malformed table the rest is checked as if it were not there."""
        problems = self.problems(Refused("{email: x}", "a.example.com", 1, ""))
        self.assertEqual(len(problems), 1)

    def test_default_in_no_certificate_is_refused(self) -> None:
        case = Refused("{}", "a.example.com", 2, "", more="tls: {default: b.example.com}")
        self.assertEqual(
            self.problems(case),
            ['{folder}/f.yaml:2: tls.default: is in no certificate (got "b.example.com")'],
        )

    def test_tables_made_in_python_have_the_names_of_python(self) -> None:
        for make, expected in (
            (lambda: Acme(key_type="x"), 'Acme: key_type: must be "ecdsa-p256" or "rsa-2048" (got "x")'),
            (
                lambda: AcmeDns(handler=dict),
                'AcmeDns: handler: must be written "package.module:callable" (got "<class \'dict\'>")',
            ),
            (lambda: OnDemand(max_per_hour=3), "OnDemand: ask: is required"),
            (lambda: Acme(httpPort="80"), 'Acme: http_port: must be a whole number; write 80 without quotes (got "80")'),
        ):  # fmt: skip
            made: Any = make
            self.assertEqual(self.assertRaises(ConfigurationError, made).problems, [expected])
