"""A target that reads what it is sent more strictly than any server, and answers each request when it is complete."""

from __future__ import annotations

from tests.http.readers import written

#: The answer to the request of this number, whose body says which it is.
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%04d"
_TO_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


class Recorder:
    """Reads and answers on all connections of a backend in memory.

    :ivar requests: those that were complete, in order.
    """

    def __init__(self, network, backend):
        self._network = network
        self._backend = backend
        self._read = {number: len(each.received) for number, each in enumerate(backend.connections)}
        self.requests = []

    def serve(self):
        """Answer what is there, until nothing more comes.

        :raises ValueError: where a request is not written in the one way.
        """
        while self._answer():
            self._network.settle()

    def _answer(self):
        answered = False
        for number, connection in enumerate(self._backend.connections):
            held = connection.received[self._read.get(number, 0) :]
            requests, rest = written(bytes(held))
            self._read[number] = len(connection.received) - len(rest)
            for request in requests:
                self.requests.append(request)
                if not connection.gone:
                    connection.write(_TO_HEAD if request.method == b"HEAD" else ANSWER % len(self.requests))
                answered = True
        return answered
