"""The files of the system's resolver."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.upstream.discovery.resolv_conf import (
    NameServers,
    Server,
    SystemFile,
    hosts_of,
    local_addresses,
    name_servers,
)


class NameServersTests(SynchronousTestCase):
    def test_servers_search_domains_and_options_are_read(self):
        found = name_servers(
            "# made by dhcp\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n; old\nsearch a.test B.test.\n"
            "options ndots:3 timeout:2 attempts:4 rotate edns0\n"
        )
        servers = (Server("192.0.2.1", 53), Server("2001:db8::1", 53))
        self.assertEqual(found, NameServers(servers, ("a.test", "b.test"), 3, 2.0, 4))

    def test_server_may_have_a_port(self):
        found = name_servers("nameserver 127.0.0.1:5353\nnameserver [::1]:54\n")
        self.assertEqual(found.servers, (Server("127.0.0.1", 5353), Server("::1", 54)))

    def test_file_without_servers_means_this_machine(self):
        """As for glibc."""
        self.assertEqual(name_servers("").servers, (Server("127.0.0.1", 53),))

    def test_lines_that_cannot_be_used_are_ignored(self):
        text = (
            "nameserver\nnameserver name.test\nnameserver 1.2.3.4:99999\noptions ndots:x timeout:\nsearch .\n"
        )
        self.assertEqual(name_servers(text), NameServers())

    def test_options_are_bounded(self):
        found = name_servers("options ndots:99 timeout:0 attempts:99\n")
        self.assertEqual((found.ndots, found.timeout, found.attempts), (15, 1.0, 5))

    def test_fourth_server_is_not_used(self):
        found = name_servers("".join(f"nameserver 192.0.2.{number}\n" for number in range(4)))
        self.assertEqual(len(found.servers), 3)


class FullNamesTests(SynchronousTestCase):
    servers = NameServers(search=("a.test", "b.test"), ndots=2)

    def test_name_with_a_final_dot_is_complete(self):
        self.assertEqual(self.servers.full_names("app."), ["app"])

    def test_short_name_is_completed_first(self):
        self.assertEqual(self.servers.full_names("app.x"), ["app.x.a.test", "app.x.b.test", "app.x"])

    def test_long_name_is_asked_for_as_it_is_first(self):
        self.assertEqual(self.servers.full_names("app.x.y")[0], "app.x.y")


class HostsTests(SynchronousTestCase):
    def test_names_and_aliases_have_their_addresses(self):
        found = hosts_of(
            "127.0.0.1 localhost\n::1 localhost ip6 # both\n192.0.2.7\tApp.test app\n192.0.2.8 app\nx y\n"
        )
        self.assertEqual(found["localhost"], ("127.0.0.1", "::1"))
        self.assertEqual(found["app"], ("192.0.2.7", "192.0.2.8"))
        self.assertEqual(found["app.test"], ("192.0.2.7",))
        self.assertNotIn("y", found)

    def test_localhost_needs_no_file(self):
        self.assertEqual(local_addresses("localhost"), ("127.0.0.1", "::1"))
        self.assertEqual(local_addresses("app.localhost"), ("127.0.0.1", "::1"))
        self.assertEqual(local_addresses("notlocalhost"), ())


class SystemFileTests(SynchronousTestCase):
    def test_changed_file_is_read_again(self):
        path = Path(self.mktemp())
        content = SystemFile(str(path), str.split)
        self.assertEqual(content(), [])
        path.write_text("one", encoding="utf-8")
        self.assertEqual(content(), ["one"])
        path.write_text("one two", encoding="utf-8")
        self.assertEqual(content(), ["one", "two"])
        path.unlink()
        self.assertEqual(content(), [])
