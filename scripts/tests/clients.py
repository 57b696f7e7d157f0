#!/usr/bin/env python3
"""The clients in examples/clients, against three real nodes: an answer is lost on its way, and the
leader of most partitions is killed while messages are sent.

    python3 scripts/tests/clients.py [ClientTests.test_go ...]
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "lib"))

import clients  # noqa: E402 (found by the line above, as those below)
from nodes import Cluster, until  # noqa: E402
from swallow import Swallower  # noqa: E402

BINARIES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug"
MESSAGES = 6_000
LIMIT = 180  # s, of one run
# Deliveries after the first that may be. Where a session does not go on, each message is one that
# is worked on for longer than the leases of a lost session last.
FEW = 2


def dead_address():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "127.0.0.1:%d" % listener.getsockname()[1]


class ClientTests(unittest.TestCase):
    """One test per language; they share a cluster."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="roadstead-clients-")
        cls.addClassCleanup(folder.cleanup)
        cls.cluster = Cluster(BINARIES, folder.name, ROOT / "target" / "test-logs" / "clients")
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.found()

    def test_python(self):
        self.prove("python")

    def test_go(self):
        self.prove("go")

    def test_node(self):
        self.prove("node")

    def test_java(self):
        self.prove("java")

    def prove(self, language):
        began = time.monotonic()
        command = clients.build(language)
        print(f"{language}: built in {time.monotonic() - began:.0f} s", flush=True)
        self.refuses_a_queue_that_is_not_there(command)
        self.loses_nothing(command, language)

    def refuses_a_queue_that_is_not_there(self, command):
        endpoints = ",".join([dead_address(), *self.addresses("client")])
        began = time.monotonic()
        done = subprocess.run(
            [*command, endpoints, "nowhere", "10"],
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("queue default/nowhere does not exist", done.stderr)
        self.assertLess(len(done.stderr.splitlines()), 5, "one message, and no trace of a stack")
        self.assertLess(time.monotonic() - began, 20, "it was asked for again and again")

    def loses_nothing(self, command, queue):
        self.assertIsNotNone(self.cluster.ask("queue", "create", queue, "--partitions", "7"))
        victim = self.cluster.leader(queue)
        swallower = Swallower(self.cluster.nodes[victim]["client"], 60_000)
        self.addCleanup(swallower.close)
        # Nobody; the port for metrics; one who loses answers; and the one who will be killed.
        first = [dead_address(), self.cluster.nodes[victim]["http"], swallower.address]
        first.append(self.cluster.nodes[victim]["client"])
        endpoints = ",".join(first + [one for one in self.addresses("client") if one not in first])
        began = time.monotonic()
        running = subprocess.Popen(
            [*command, endpoints, queue, str(MESSAGES)], stdout=subprocess.PIPE, text=True
        )
        try:
            sent = self.amid(queue, running)
            self.assertGreater(swallower.swallowed, 0, "no answer was lost")
            self.cluster.kill(victim)
            out, _ = running.communicate(timeout=LIMIT)
        finally:
            running.kill()
            running.wait()
        seconds = time.monotonic() - began
        print(f"{queue}: {victim} killed at {sent} sends; {out.strip()}; {seconds:.1f} s")
        self.cluster.start(victim)
        self.cluster.wait()
        self.check(running.returncode, out, queue, sent)

    def check(self, code, out, queue, sent):
        self.assertLess(sent, MESSAGES, "killed when all was sent")
        line = rf"sent={MESSAGES} acked={MESSAGES} lost=0 duplicates=(\d+)\n"
        self.assertRegex(out, f"^{line}$")
        self.assertEqual(code, 0)
        self.assertLessEqual(int(re.match(line, out).group(1)), FEW)
        stats = self.cluster.ask("queue", "get", queue)["stats"]
        self.assertEqual(stats["sentTotal"], MESSAGES, "a retry was taken for a new message")
        self.assertEqual(stats["ackedTotal"], MESSAGES)
        for kind in ("ready", "inFlight", "delayed", "blocked", "deadLetteredTotal"):
            self.assertEqual(stats[kind], 0, kind)

    def amid(self, queue, running):
        """Waits until enough was sent; how many."""

        def enough():
            self.assertIsNone(running.poll(), "it ended before the leader was killed")
            answer = self.cluster.ask("queue", "get", queue)
            sent = answer["stats"]["sentTotal"] if answer else 0
            return sent if sent > MESSAGES * 0.4 else 0

        return until("sends", enough, LIMIT)

    def addresses(self, listener):
        return [node[listener] for node in self.cluster.nodes.values()]


if __name__ == "__main__":
    unittest.main(verbosity=2)
