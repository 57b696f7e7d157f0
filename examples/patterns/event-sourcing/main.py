"""Balances that are nothing but what the events of their accounts add up to.

python main.py HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE GROUP DATABASE

An event is JSON: {"account": "a", "change": 5}; its ordering key is the account.
"""

import asyncio
import json
import os
import sqlite3
import sys

from client import Cluster, Fault
from consumer import Consumer
from roadstead.v1.message_pb2 import Delivery

SLOW = float(os.environ.get("SLOW", "0"))  # s between an event and its ack: time to be killed in

# How far an account has come: its events stand in one partition, in order of their sequences.
SCHEMA = """
    CREATE TABLE IF NOT EXISTS balances (
        account TEXT PRIMARY KEY, amount INTEGER NOT NULL, sequence INTEGER NOT NULL
    );
"""


def apply(database: sqlite3.Connection, event: dict, sequence: int) -> None:
    """Adds an event to its account, unless the account has come as far as that already."""
    with database:
        database.execute(
            "INSERT INTO balances VALUES (:account, :change, :sequence) ON CONFLICT (account)"
            " DO UPDATE SET amount = amount + excluded.amount, sequence = excluded.sequence"
            " WHERE sequence < excluded.sequence",
            {**event, "sequence": sequence},
        )


async def main(endpoints: str, queue: str, group: str, path: str) -> None:
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)

    async def handle(delivery: Delivery) -> None:
        apply(database, json.loads(delivery.body), delivery.sequence)
        await asyncio.sleep(SLOW)

    consumer = Consumer(Cluster(endpoints.split(",")), queue, handle, lambda _: None, group)
    try:
        await consumer.run()
    except Fault as fault:
        sys.exit(str(fault))


asyncio.run(main(*sys.argv[1:]))
