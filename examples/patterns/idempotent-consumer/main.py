"""Adds payments to balances, each once, however often its message comes.

python main.py HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE DATABASE

A message is JSON: {"account": "a", "amount": 5}.
"""

import asyncio
import json
import os
import sqlite3
import sys

from client import Cluster, Fault
from consumer import Consumer
from roadstead.v1.message_pb2 import Delivery

SLOW = float(os.environ.get("SLOW", "0"))  # s between the work and its ack: time to be killed in

SCHEMA = """
    CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, amount INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS handled (message TEXT PRIMARY KEY) WITHOUT ROWID;
"""


def add(database: sqlite3.Connection, message: str, payment: dict) -> bool:
    """Adds a payment, in one transaction with the id of its message; whether it was new."""
    with database:
        noted = database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (message,))
        if noted.rowcount == 0:
            return False
        database.execute(
            "INSERT INTO balances VALUES (:account, :amount)"
            " ON CONFLICT (account) DO UPDATE SET amount = amount + excluded.amount",
            payment,
        )
    return True


async def main(endpoints: str, queue: str, path: str) -> None:
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)

    async def handle(delivery: Delivery) -> None:
        if not add(database, delivery.message_id, json.loads(delivery.body)):
            print(f"{delivery.message_id} came again", flush=True)
        await asyncio.sleep(SLOW)

    consumer = Consumer(Cluster(endpoints.split(",")), queue, handle, lambda _: None)
    try:
        await consumer.run()
    except Fault as fault:
        sys.exit(str(fault))


asyncio.run(main(*sys.argv[1:]))
