#!/usr/bin/env python3
"""The patterns in examples/patterns, against three real nodes: each program is killed where it
hurts most, and started again.

    python3 scripts/tests/patterns.py [PatternTests.test_saga ...]
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "lib"))

import clients  # noqa: E402 (found by the line above, as that below)
from nodes import ENV, Cluster, until  # noqa: E402

BINARIES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug"
PATTERNS = ROOT / "examples" / "patterns"
COUNT = 30
# What comes again is to come soon, and none is to die of being killed.
QUEUE = ("--backoff", "none", "--max-deliveries", "100")
FOREVER = 600  # s, in which a program is killed


class PatternTests(unittest.TestCase):
    """One test per pattern; they share a cluster."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="roadstead-patterns-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        logs = ROOT / "target" / "test-logs" / "patterns"
        cls.cluster = Cluster(BINARIES, cls.folder / "cluster", logs)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.found()

    def test_idempotent_consumer(self):
        self.create("payments")
        payments = [{"account": f"a{n % 3}", "amount": n} for n in range(COUNT)]
        self.send("payments", payments)
        database = self.folder / "balances"
        consumer = ("idempotent-consumer", self.endpoints(), "payments", database)
        with self.killed(*consumer, slow=FOREVER):
            until("all are added", lambda: self.rows(database, "handled") == COUNT)
        self.assertEqual(self.stats("payments")["ackedTotal"], 0, "killed behind the acks")
        with self.killed(*consumer):
            self.settled("payments")
        wanted = [(f"a{n}", sum(range(n, COUNT, 3))) for n in range(3)]
        self.assertEqual(self.query(database, "SELECT * FROM balances ORDER BY account"), wanted)
        self.assertGreater(self.stats("payments")["redeliveredTotal"], 0)

    def test_event_sourcing(self):
        options = ("--ordering", "per-key", "--retain-after-ack", "1h", "--group", "balances")
        self.create("accounts", *options)
        accounts = ("a0", "a1", "a2")
        for account in accounts:
            self.send("accounts", self.events(account, 10), "--key", account)
        wanted = [(account, sum(range(10))) for account in accounts]
        database = self.folder / "view"
        view = ("event-sourcing", self.endpoints(), "accounts", "balances", database)
        with self.killed(*view, slow=FOREVER):
            until("first events", lambda: self.rows(database, "balances") == 3)
        self.assertEqual(self.stats("accounts", "balances")["ackedTotal"], 0, "behind the acks")
        with self.killed(*view):
            self.settled("accounts", "balances")
        self.assertEqual(self.balances(database), wanted)

        # Everything is made anew of what all groups have settled, with what came meanwhile.
        self.command("receive", "accounts", "--ack", "-c", str(COUNT))
        until("all is settled", lambda: self.stats("accounts")["retained"] == COUNT)
        database.unlink()
        self.command("queue", "seek", "accounts", "--group", "balances", "--beginning")
        self.send("accounts", self.events("a1", 3), "--key", "a1")
        with self.killed(*view, slow=0.2):
            until("half of it", lambda: self.rows(database, "balances") == 3)
        wanted[1] = ("a1", sum(range(10)) + sum(range(3)))
        with self.killed(*view):
            until("all of it", lambda: self.balances(database) == wanted)

    def test_outbox(self):
        self.create("orders", "--deduplication", "id", "--deduplication-window", "1h")
        database = self.folder / "shop"
        with self.killed("outbox", "place", database, 1_000_000):
            until("some orders", lambda: self.rows(database, "orders") > 150)
        placed = self.query(database, "SELECT id FROM orders")
        self.assertEqual(self.rows(database, "outbox"), len(placed), "an order without a message")

        relay = ("outbox", "relay", database, self.endpoints(), "orders")
        with self.killed(*relay, slow=FOREVER):
            until("a batch is sent", lambda: self.stats("orders")["sentTotal"])
        self.assertEqual(self.rows(database, "outbox"), len(placed), "killed behind the mark")
        with self.killed(*relay):
            until("the outbox is empty", lambda: self.rows(database, "outbox") == 0)
        self.assertEqual(self.stats("orders")["ready"], len(placed), "lost, or there twice")
        words = ("receive", "orders", "--ack", "-c", str(len(placed)))
        came = self.command(*words).stdout.splitlines()
        self.assertEqual({json.loads(one)["order"] for one in came}, {row[0] for row in placed})

    def test_saga(self):
        self.create("trips")
        missing = ("", "flight", "hotel", "car", "")
        trips = [{"trip": f"t{n}", "missing": missing[n % 5]} for n in range(COUNT)]
        self.send("trips", trips)
        sagas, services = self.folder / "sagas", self.folder / "services"
        saga = ("saga", self.endpoints(), "trips", sagas, services)
        # Where they all have a step done that is not noted, and the next time undone.
        with self.killed(*saga, slow=FOREVER):
            until("first steps", lambda: self.rows(services, "bookings") == COUNT * 4 // 5)
        self.assertEqual(self.rows(sagas, "sagas"), 0, "killed behind a note")
        with self.killed(*saga, slow=1):
            undone = "SELECT count(*) FROM sagas WHERE back AND steps > 0"
            until("a way back", lambda: self.query(sagas, undone) != [(0,)])
        self.assertLess(self.stats("trips")["ackedTotal"], COUNT, "killed when all was done")
        with self.killed(*saga):
            self.settled("trips")
        parts = "SELECT trip, count(*) FROM bookings GROUP BY trip"
        whole = {(trip["trip"], 3) for trip in trips if not trip["missing"]}
        self.assertEqual(set(self.query(services, parts)), whole)

    def create(self, queue, *options):
        answer = self.cluster.ask("queue", "create", queue, "--partitions", "3", *QUEUE, *options)
        self.assertIsNotNone(answer)

    def send(self, queue, values, *options):
        lines = "".join(json.dumps(value) + "\n" for value in values)
        self.command("send", queue, "--ndjson", "-", *options, stdin=lines)

    @staticmethod
    def events(account, count):
        return [{"account": account, "change": n} for n in range(count)]

    def balances(self, path):
        return self.query(path, "SELECT account, amount FROM balances ORDER BY account")

    def command(self, *words, stdin=""):
        command = [BINARIES / "roadstead", "--endpoint", self.endpoints(), *words]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=ENV, check=True
        )

    def killed(self, pattern, *words, slow=0):
        """The program of a pattern, for as long as this is entered; then it gets SIGKILL."""
        return Killed(clients.python(PATTERNS / pattern / "main.py"), words, slow)

    def settled(self, queue, group="default"):
        until("all is acked", lambda: self.stats(queue, group)["ackedTotal"] == COUNT)
        for kind in ("ready", "inFlight", "delayed", "deadLetteredTotal"):
            self.assertEqual(self.stats(queue, group)[kind], 0, kind)

    def stats(self, queue, group="default"):
        return self.cluster.ask("queue", "get", queue, "--group", group)["stats"]

    def rows(self, path, table):
        """How many a table has; 0 where there is none yet."""
        try:
            return self.query(path, f"SELECT count(*) FROM {table}")[0][0]
        except sqlite3.OperationalError:
            return 0

    def query(self, path, text):
        database = sqlite3.connect(path, timeout=30)
        try:
            return database.execute(text).fetchall()
        finally:
            database.close()

    def endpoints(self):
        return ",".join(node["client"] for node in self.cluster.nodes.values())


class Killed:
    """A program that is killed at the end of its block; it has to live until then."""

    def __init__(self, command, words, slow):
        self.command = [*command, *map(str, words)]
        self.env = {**ENV, "SLOW": str(slow)}

    def __enter__(self):
        self.began = time.monotonic()
        self.process = subprocess.Popen(self.command, env=self.env)

    def __exit__(self, *_):
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        print(f"{self.command[-1]}: killed after {time.monotonic() - self.began:.1f} s")
        if ended is not None:
            raise AssertionError(f"{self.command} ended by itself: {ended}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
