"""A TCP proxy that loses answers: what was asked is done, and who asked does not hear of it."""

import contextlib
import socket
import threading
import time


class Swallower:
    """Passes everything on to `target` ("host:port"), until `most` bytes were asked. Then it keeps
    back what is answered for a while, breaks all connections, and takes no more."""

    def __init__(self, target, most, hold=0.3):
        self.target, self.most, self.hold = target.rpartition(":"), most, hold
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.holding = threading.Event()
        self.swallowed = 0  # bytes of answers
        self.asked = 0
        self.sockets = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for one in self.sockets:
            # A thread that reads from it hears of this, and not of a mere close.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                node = socket.create_connection((self.target[0], int(self.target[2])))
                self.sockets += [client, node]
                for pipe in ((client, node, self._asked), (node, client, self._answered)):
                    threading.Thread(target=self._pass, args=pipe, daemon=True).start()

    def _pass(self, source, sink, may_pass):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if may_pass(data):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _asked(self, data):
        self.asked += len(data)
        if self.asked > self.most and not self.holding.is_set():
            self.holding.set()
            threading.Thread(target=self._break, daemon=True).start()
        return True

    def _answered(self, data):
        if self.holding.is_set():
            self.swallowed += len(data)
        return not self.holding.is_set()

    def _break(self):
        time.sleep(self.hold)
        self.close()
