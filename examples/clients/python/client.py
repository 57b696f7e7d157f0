"""Calls to whichever node answers, and a producer whose retries are no duplicates."""

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from grpc_status import rpc_status

from roadstead.v1 import message_pb2 as pb
from roadstead.v1.error_pb2 import ErrorDetail
from roadstead.v1.message_pb2_grpc import MessageServiceStub
from roadstead.v1.queue_pb2 import GetQueueRequest, QueueRef
from roadstead.v1.queue_pb2_grpc import QueueServiceStub

T = TypeVar("T")
PATIENCE = 45.0  # s; a send that is repeated within a minute is known again
KEEPALIVE = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000)]


class Fault(Exception):
    """Why a call, or one entry of a batch, failed."""

    def __init__(self, error: grpc.aio.AioRpcError | pb.EntryError | asyncio.TimeoutError) -> None:
        self.code, self.retryable = 0, True  # where no node of Roadstead said otherwise
        if isinstance(error, pb.EntryError):
            super().__init__(error.message)
            self.code, self.retryable = error.code, error.retryable
        elif isinstance(error, grpc.aio.AioRpcError):
            super().__init__(error.details())
            status, detail = rpc_status.from_call(error), ErrorDetail()
            if status and any(entry.Unpack(detail) for entry in status.details):
                self.code, self.retryable = status.code, detail.retryable
        else:
            super().__init__("no answer in time")


def queue_ref(name: str) -> QueueRef:
    namespace, _, short = name.rpartition("/")
    return QueueRef(namespace=namespace or "default", name=short)


class Cluster:
    """Any node serves any request, so this goes to the first endpoint that answers."""

    def __init__(self, endpoints: list[str]) -> None:
        self.channels = deque(grpc.aio.insecure_channel(e, options=KEEPALIVE) for e in endpoints)

    async def call(self, attempt: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        """Makes the attempt at one endpoint after the other, as long as that may help."""
        pause, give_up = 0.05, time.monotonic() + PATIENCE
        while True:
            channel = self.channels[0]
            try:
                return await attempt(channel)
            except (grpc.aio.AioRpcError, asyncio.TimeoutError) as error:
                fault = Fault(error)
            except Fault as of_entry:
                fault = of_entry
            if not fault.retryable or time.monotonic() > give_up:
                raise fault
            if channel is self.channels[0]:  # nobody else has moved on yet
                self.channels.rotate(-1)
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 1.0)


class Producer:
    """Sends one batch after the other, to each partition of a queue in turn."""

    def __init__(self, cluster: Cluster, queue: str) -> None:
        self.cluster, self.queue, self.id = cluster, queue_ref(queue), str(uuid.uuid4())
        self.next: list[int] = []  # the number of each partition's next message
        self.turn = 0

    async def open(self) -> None:
        """Asks for the number of partitions; fails where there is no such queue."""
        request = GetQueueRequest(queue=self.queue)
        answer = await self.cluster.call(
            lambda channel: QueueServiceStub(channel).GetQueue(request, timeout=5)
        )
        self.next = [1] * answer.queue.spec.partitions

    async def send(self, bodies: list[bytes]) -> None:
        """Returns when all are on disk on a majority. A retry carries the same numbers."""
        partition = self.turn % len(self.next)
        request = pb.SendRequest(
            queue=self.queue,
            partition=partition,
            producer=pb.Producer(id=self.id, first_sequence=self.next[partition]),
            messages=[pb.OutgoingMessage(body=body) for body in bodies],
        )
        # Also those of a message that is refused: others of the batch may be stored.
        self.next[partition] += len(bodies)
        self.turn += 1

        async def attempt(channel: grpc.aio.Channel) -> None:
            answer = await MessageServiceStub(channel).Send(request, timeout=10)
            for result in answer.results:
                if result.HasField("error"):
                    raise Fault(result.error)

        await self.cluster.call(attempt)
