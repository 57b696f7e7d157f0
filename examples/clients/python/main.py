"""Sends COUNT messages to a queue and receives them all, whichever node is lost meanwhile.

python main.py HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE COUNT
"""

import asyncio
import contextlib
import sys
import uuid
from collections import Counter, defaultdict

from client import Cluster, Fault, Producer
from consumer import LEASE, Consumer
from roadstead.v1.message_pb2 import Delivery

BATCH = 50
SLOW = b"00"  # a message whose number ends so takes longer than its lease
IDLE = 30  # s without an ack, then what is missing is lost


class Ledger:
    """What was sent, how often each message came under which id, and what was acked."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex.encode()
        self.sent: set[bytes] = set()
        self.came: defaultdict[bytes, Counter[str]] = defaultdict(Counter)
        self.acked: set[bytes] = set()
        self.ack = asyncio.Event()

    async def handle(self, delivery: Delivery) -> None:
        """The work. A message may come twice: what is done here has to bear that."""
        if delivery.body.startswith(self.run):  # else an earlier run did not take it
            self.came[delivery.body][delivery.message_id] += 1
            if delivery.body.endswith(SLOW):
                await asyncio.sleep(1.5 * LEASE)

    def on_ack(self, delivery: Delivery) -> None:
        if delivery.body.startswith(self.run):
            self.acked.add(delivery.body)
            self.ack.set()

    async def complete(self, count: int) -> None:
        """Returns when all are acked, or none was for long."""
        with contextlib.suppress(asyncio.TimeoutError):
            while len(self.acked) < count:
                await asyncio.wait_for(self.ack.wait(), IDLE)
                self.ack.clear()

    def report(self) -> bool:
        """Prints one line; whether all were acked and none was stored twice."""
        lost = len(self.sent - self.came.keys())
        duplicates = sum(ids.total() - 1 for ids in self.came.values())
        doubled = sum(len(ids) > 1 for ids in self.came.values())
        line = f"sent={len(self.sent)} acked={len(self.acked)} lost={lost} duplicates={duplicates}"
        print(line + (f" doubled={doubled}" if doubled else ""))
        return self.acked == self.sent and not lost and not doubled


async def main(endpoints: str, queue: str, count: int) -> None:
    cluster, ledger = Cluster(endpoints.split(",")), Ledger()
    producer = Producer(cluster, queue)
    consumer = Consumer(cluster, queue, ledger.handle, ledger.on_ack)
    try:
        await producer.open()
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(consumer.run())
            for first in range(0, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                bodies = [b"%s/%d" % (ledger.run, number) for number in numbers]
                await producer.send(bodies)
                ledger.sent.update(bodies)
            await ledger.complete(count)
            receiving.cancel()
    except* Fault as group:
        sys.exit("; ".join(map(str, group.exceptions)))
    sys.exit(0 if ledger.report() else 1)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
