"""A consumer whose session outlives the node that serves it."""

import asyncio
import itertools
import sys
import uuid
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from client import Cluster, Fault, queue_ref
from roadstead.v1 import message_pb2 as pb
from roadstead.v1.message_pb2_grpc import MessageServiceStub

CREDIT = 100  # messages that are with the handlers at the same time
LEASE = 10  # s
NOT_FOUND: int = grpc.StatusCode.NOT_FOUND.value[0]


class Consumer:
    """Calls `handle` for up to CREDIT messages at once, and `on_ack` when one is gone for good."""

    def __init__(
        self,
        cluster: Cluster,
        queue: str,
        handle: Callable[[pb.Delivery], Awaitable[None]],
        on_ack: Callable[[pb.Delivery], None],
        group: str = "default",
    ) -> None:
        self.cluster, self.queue, self.session = cluster, queue_ref(queue), str(uuid.uuid4())
        self.handle, self.on_ack, self.group = handle, on_ack, group
        self.streams = itertools.count(1)
        self.held: dict[bytes, asyncio.Task[None]] = {}  # what is not settled, by receipt
        self.writing = asyncio.Lock()

    async def run(self) -> None:
        """Receives until cancelled; a stream that breaks is followed by another one."""
        while True:
            self.stream = await self.cluster.call(self._open)
            try:
                await self._grant(CREDIT - len(self.held))
                while (frame := await self.stream.read()) is not grpc.aio.EOF:
                    for delivery in frame.deliveries.deliveries:
                        self.held[delivery.receipt] = asyncio.create_task(self._work(delivery))
            except grpc.aio.AioRpcError as error:
                if not Fault(error).retryable:
                    raise Fault(error) from None

    async def _open(self, channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
        stream = MessageServiceStub(channel).ReceiveStream()
        start = pb.ReceiveStreamOpen(
            queue=self.queue,
            group=self.group,
            session_id=self.session,  # the same for every stream, so that leases go on
            stream=next(self.streams),
            held_receipts=list(self.held),
            lease=Duration(seconds=LEASE),
        )
        await stream.write(pb.ReceiveStreamRequest(open=start))
        if await asyncio.wait_for(stream.read(), timeout=5) is grpc.aio.EOF:  # else `opened`
            raise asyncio.TimeoutError
        return stream

    async def _grant(self, messages: int) -> None:
        """Lets so many more messages come."""
        stream, credit = self.stream, pb.ReceiveCredit(messages=messages)
        try:
            async with self.writing:
                await stream.write(pb.ReceiveStreamRequest(credit=credit))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended; the next one begins with all credit

    async def _work(self, delivery: pb.Delivery) -> None:
        """Extends the lease for as long as the handler works, then settles."""
        work = asyncio.ensure_future(self.handle(delivery))
        try:
            while not (await asyncio.wait([work], timeout=LEASE / 3))[0]:
                await self._settle(delivery, extend=pb.Extend(lease=Duration(seconds=LEASE)))
            if error := work.exception():
                await self._settle(delivery, nack=pb.Nack(error=str(error)))
            else:
                await self._settle(delivery, ack=pb.Ack())
                self.on_ack(delivery)
        except Fault as error:
            work.cancel()
            print(f"{delivery.message_id} will be delivered again: {error}", file=sys.stderr)
        del self.held[delivery.receipt]
        await self._grant(1)

    async def _settle(self, delivery: pb.Delivery, **action: Message) -> None:
        settlement = pb.Settlement(receipt=delivery.receipt, **action)
        request = pb.SettleRequest(queue=self.queue, settlements=[settlement])
        tries = 0

        async def attempt(channel: grpc.aio.Channel) -> None:
            nonlocal tries
            tries += 1
            answer = await MessageServiceStub(channel).Settle(request, timeout=5)
            error = answer.results[0].error
            # Gone at the second try: the first one did it, and its answer was lost.
            if error.code and not (error.code == NOT_FOUND and tries > 1):
                raise Fault(error)

        await self.cluster.call(attempt)
