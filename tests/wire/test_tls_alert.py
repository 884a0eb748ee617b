import ssl

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import tls_alert
from smartproxy.wire.tls_alert import Alert, AlertMessage, Level
from tests.wire.ways import check, check_refused


def parse(data):
    return tls_alert.parse(data)


class AlertTests(SynchronousTestCase):
    def test_every_alert_is_parsed_back(self):
        for alert in Alert:
            for level in Level:
                check(self, parse, tls_alert.build(alert, level), AlertMessage(alert, level))

    def test_close_notify_is_a_warning_and_others_are_fatal(self):
        self.assertEqual(tls_alert.build(Alert.UNRECOGNIZED_NAME), b"\x15\x03\x03\x00\x02\x02\x70")
        self.assertEqual(tls_alert.build(Alert.CLOSE_NOTIFY), b"\x15\x03\x03\x00\x02\x01\x00")

    def test_other_bytes_are_not_an_alert(self):
        for data in [
            b"\x16\x03\x03\x00\x02\x02\x70",
            b"\x15\x02\x03\x00\x02\x02\x70",
            b"\x15\x03\x03\x00\x03\x02\x70\x00",
            b"\x15\x03\x03\x01\x02\x02\x70",
            b"\x15\x03\x03\x00\x02\x03\x70",
            b"\x15\x03\x03\x00\x02\x02\x63",
        ]:
            check_refused(self, parse, data)

    def test_openssl_reports_the_alert_that_was_built(self):
        """A client shows its user this reason, which is what the alert is sent for."""
        for alert, words in [
            (Alert.UNRECOGNIZED_NAME, "unrecognized name"),
            (Alert.HANDSHAKE_FAILURE, "handshake failure"),
            (Alert.ACCESS_DENIED, "access denied"),
            (Alert.NO_APPLICATION_PROTOCOL, "no application protocol"),
        ]:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
            self.assertRaises(ssl.SSLWantReadError, client.do_handshake)
            incoming.write(tls_alert.build(alert))
            error = self.assertRaises(ssl.SSLError, client.do_handshake)
            self.assertIn(words, str(error).lower().replace("_", " "))
