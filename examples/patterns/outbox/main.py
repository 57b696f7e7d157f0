"""Orders whose messages are written with them, and the relay that sends those messages.

python main.py place DATABASE COUNT
python main.py relay DATABASE HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE

The queue needs deduplication by id.
"""

import asyncio
import json
import os
import sqlite3
import sys
import uuid

import grpc

from client import Cluster, Fault, queue_ref
from roadstead.v1 import message_pb2 as pb
from roadstead.v1.message_pb2_grpc import MessageServiceStub

SLOW = float(os.environ.get("SLOW", "0"))  # s between the send and its mark: time to be killed in
BATCH = 100
IDLE = 0.1  # s between two looks at an empty outbox

# A number of the outbox is never used again, and the name makes it one of this database.
SCHEMA = """
    CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS sender (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL);
"""


def open_database(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30)
    database.executescript(SCHEMA)
    with database:
        database.execute("INSERT OR IGNORE INTO sender VALUES (1, ?)", (str(uuid.uuid4()),))
    return database


def place(database: sqlite3.Connection, item: str) -> None:
    """Writes an order and what is to be said of it: both or neither."""
    order = str(uuid.uuid4())
    with database:
        database.execute("INSERT INTO orders VALUES (?, ?)", (order, item))
        body = json.dumps({"order": order, "item": item})
        database.execute("INSERT INTO outbox (body) VALUES (?)", (body,))


async def send(cluster: Cluster, queue: str, messages: list[pb.OutgoingMessage]) -> None:
    """Returns when all are on disk on a majority. What is there already is not added again."""
    request = pb.SendRequest(queue=queue_ref(queue), messages=messages)

    async def attempt(channel: grpc.aio.Channel) -> None:
        answer = await MessageServiceStub(channel).Send(request, timeout=10)
        for result in answer.results:
            if result.HasField("error"):
                raise Fault(result.error)

    await cluster.call(attempt)


async def relay(database: sqlite3.Connection, cluster: Cluster, queue: str) -> None:
    """Sends what is in the outbox, then takes it out. Killed in between it sends it again."""
    (name,) = database.execute("SELECT name FROM sender").fetchone()
    while True:
        query = "SELECT number, body FROM outbox ORDER BY number LIMIT ?"
        rows = database.execute(query, (BATCH,)).fetchall()
        if not rows:
            await asyncio.sleep(IDLE)
            continue
        await send(cluster, queue, [
            pb.OutgoingMessage(body=body.encode(), deduplication_id=f"{name}/{number}")
            for number, body in rows
        ])
        await asyncio.sleep(SLOW)
        with database:
            database.execute("DELETE FROM outbox WHERE number <= ?", (rows[-1][0],))


async def start_relay(database: sqlite3.Connection, endpoints: str, queue: str) -> None:
    try:
        await relay(database, Cluster(endpoints.split(",")), queue)
    except Fault as fault:
        sys.exit(str(fault))


def main(what: str, path: str, *rest: str) -> None:
    database = open_database(path)
    if what == "relay":
        asyncio.run(start_relay(database, *rest))
    else:
        for number in range(int(rest[0])):
            place(database, f"item {number}")


main(*sys.argv[1:])
