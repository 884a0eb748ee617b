"""A client that sends KeyUpdate messages (RFC 8446, 4.6.3), by libssl: Python's ssl has no function for them."""

from __future__ import annotations

import ctypes
import ctypes.util
from unittest import SkipTest

_P = ctypes.c_void_p
_SET_NAME = 55  # SSL_CTRL_SET_TLSEXT_HOSTNAME
_ASK_FOR_THEIRS = 1  # SSL_KEY_UPDATE_REQUESTED
_WANT_WRITE = 3


def _library():
    found = ctypes.util.find_library("ssl")
    if found is None:
        raise SkipTest("libssl is not installed")
    library = ctypes.CDLL(found)
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, name).restype = _P
    return library


class KeyChanger:
    """TLS over ``sock``, unverified. After the handshake, it reads only in :meth:`hear`.

    :raises SkipTest: if libssl is not installed.
    """

    def __init__(self, sock, name):
        self._library = _library()
        sock.settimeout(None)
        self._context = _P(self._library.SSL_CTX_new(_P(self._library.TLS_client_method())))
        self._ssl = _P(self._library.SSL_new(self._context))
        self._library.SSL_set_fd(self._ssl, sock.fileno())
        self._library.SSL_ctrl(self._ssl, _SET_NAME, 0, name.encode())
        assert self._library.SSL_connect(self._ssl) == 1
        self._sock = sock
        sock.setblocking(False)

    def change(self):
        """Update the keys and request the peer's update. ``False`` where the socket has no room for it now.

        :raises ConnectionError: if the peer has closed the connection.
        """
        self._library.SSL_key_update(self._ssl, _ASK_FOR_THEIRS)
        result = self._library.SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        if self._library.SSL_get_error(self._ssl, result) != _WANT_WRITE:
            raise ConnectionError
        return False

    def say(self, words):
        """Send these bytes."""
        assert self._library.SSL_write(self._ssl, words, len(words)) == len(words)

    def hear(self, count):
        """Receive exactly ``count`` bytes."""
        room, heard = ctypes.create_string_buffer(count), b""
        self._sock.setblocking(True)
        while len(heard) < count:
            got = self._library.SSL_read(self._ssl, room, count - len(heard))
            assert got > 0
            heard += room.raw[:got]
        return heard

    def free(self):
        """Free libssl's memory. The socket stays open."""
        self._library.SSL_free(self._ssl)
        self._library.SSL_CTX_free(self._context)
