"""Books trips of several parts: all of them, or in the end none.

python main.py HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE SAGAS SERVICES

A message is JSON: {"trip": "t7", "missing": "hotel"}; what is missing cannot be booked. SAGAS is
the database of this program, SERVICES stands for those of others.
"""

import asyncio
import json
import os
import sqlite3
import sys

from client import Cluster, Fault
from consumer import Consumer
from roadstead.v1.message_pb2 import Delivery

SLOW = float(os.environ.get("SLOW", "0"))  # s between a step and its note: time to be killed in
STEPS = ("flight", "hotel", "car")


class Refused(Exception):
    """A step that cannot be done, however often it is tried."""


class Services:
    """What others do. Each call may be repeated: it is known by the trip and the part."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path)
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS bookings (trip TEXT, part TEXT, PRIMARY KEY (trip, part))"
        )

    def book(self, trip: dict, part: str) -> None:
        if trip.get("missing") == part:
            raise Refused(part)
        with self.database:
            booking = (trip["trip"], part)
            self.database.execute("INSERT OR IGNORE INTO bookings VALUES (?, ?)", booking)

    def cancel(self, trip: dict, part: str) -> None:
        with self.database:
            booking = (trip["trip"], part)
            self.database.execute("DELETE FROM bookings WHERE trip = ? AND part = ?", booking)


class Sagas:
    """How far each trip is: steps done, and whether they are being undone."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path)
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS sagas (trip TEXT PRIMARY KEY, steps INTEGER, back INTEGER)"
        )

    def read(self, trip: str) -> tuple[int, bool]:
        query = "SELECT steps, back FROM sagas WHERE trip = ?"
        steps, back = self.database.execute(query, (trip,)).fetchone() or (0, 0)
        return steps, bool(back)

    async def note(self, trip: str, steps: int, back: bool) -> None:
        await asyncio.sleep(SLOW)
        with self.database:
            row = (trip, steps, back)
            self.database.execute("INSERT OR REPLACE INTO sagas VALUES (?, ?, ?)", row)


async def run(sagas: Sagas, services: Services, trip: dict) -> None:
    """Takes a trip on from where it is. Killed anywhere, it is begun again with the message, and
    repeats at most the step that was not noted."""
    steps, back = sagas.read(trip["trip"])
    while not back and steps < len(STEPS):
        try:
            services.book(trip, STEPS[steps])
            steps += 1
        except Refused:
            back = True
        await sagas.note(trip["trip"], steps, back)
    while back and steps > 0:
        services.cancel(trip, STEPS[steps - 1])
        steps -= 1
        await sagas.note(trip["trip"], steps, back)


async def main(endpoints: str, queue: str, own: str, others: str) -> None:
    sagas, services = Sagas(own), Services(others)

    async def handle(delivery: Delivery) -> None:
        await run(sagas, services, json.loads(delivery.body))

    consumer = Consumer(Cluster(endpoints.split(",")), queue, handle, lambda _: None)
    try:
        await consumer.run()
    except Fault as fault:
        sys.exit(str(fault))


asyncio.run(main(*sys.argv[1:]))
