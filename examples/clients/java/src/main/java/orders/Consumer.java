package orders;

import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusException;
import java.util.HashSet;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import roadstead.v1.Message.Ack;
import roadstead.v1.Message.Delivery;
import roadstead.v1.Message.Extend;
import roadstead.v1.Message.Nack;
import roadstead.v1.Message.ReceiveCredit;
import roadstead.v1.Message.ReceiveStreamOpen;
import roadstead.v1.Message.ReceiveStreamRequest;
import roadstead.v1.Message.SettleRequest;
import roadstead.v1.Message.Settlement;
import roadstead.v1.MessageServiceGrpc;
import roadstead.v1.QueueOuterClass.QueueRef;

/** Has a handler called for up to {@link #CREDIT} messages at once. */
final class Consumer {
  /** Messages that are with the handler at the same time. */
  private static final int CREDIT = 100;

  static final int LEASE_SECONDS = 10;
  private static final Duration LEASE = Duration.newBuilder().setSeconds(LEASE_SECONDS).build();

  interface Handler {
    /** The work; an exception is a nack. It is interrupted when the lease is lost. */
    void handle(Delivery delivery) throws Exception;

    /** The message is gone for good. */
    void acked(Delivery delivery);
  }

  private final Cluster cluster;
  private final QueueRef queue;
  private final Handler handler;
  private final ExecutorService threads;

  /** The same for every stream, so that leases go on. */
  private final String session = UUID.randomUUID().toString();

  private long streams;

  /** Receipts of what is not settled. */
  private final Set<ByteString> held = new HashSet<>();

  private Stream stream;

  Consumer(Cluster cluster, String queue, Handler handler, ExecutorService threads) {
    this.cluster = cluster;
    this.queue = Cluster.queueRef(queue);
    this.handler = handler;
    this.threads = threads;
  }

  /** Receives until interrupted; a stream that breaks is followed by another one. */
  void run() throws Fault, InterruptedException {
    while (true) {
      Stream current = cluster.call(this::open);
      try {
        while (true) {
          var batch = current.read(Long.MAX_VALUE).getDeliveries();
          for (Delivery delivery : batch.getDeliveriesList()) {
            hold(delivery);
            threads.execute(() -> work(delivery));
          }
        }
      } catch (StatusException error) {
        Fault fault = Fault.of(error);
        if (!fault.retryable) {
          throw fault;
        }
      }
    }
  }

  private Stream open(ManagedChannel channel) throws StatusException, InterruptedException {
    Stream next = new Stream(channel);
    next.write(ReceiveStreamRequest.newBuilder().setOpen(opening()).build());
    next.read(5); // `opened`
    begin(next);
    return next;
  }

  private synchronized ReceiveStreamOpen opening() {
    return ReceiveStreamOpen.newBuilder()
        .setQueue(queue)
        .setSessionId(session)
        .setStream(++streams)
        .addAllHeldReceipts(held)
        .setLease(LEASE)
        .build();
  }

  private synchronized void begin(Stream next) {
    stream = next;
    grant(CREDIT - held.size());
  }

  private synchronized void hold(Delivery delivery) {
    held.add(delivery.getReceipt());
  }

  private synchronized void release(Delivery delivery) {
    held.remove(delivery.getReceipt());
    grant(1);
  }

  /** Lets so many more messages come. A new stream begins with what a broken one did not get. */
  private void grant(int messages) {
    var credit = ReceiveCredit.newBuilder().setMessages(messages);
    stream.write(ReceiveStreamRequest.newBuilder().setCredit(credit).build());
  }

  /** Extends the lease for as long as the handler works, then settles. */
  private void work(Delivery delivery) {
    Future<?> work =
        threads.submit(
            () -> {
              handler.handle(delivery);
              return null;
            });
    try {
      settleWhenDone(work, delivery);
      release(delivery);
    } catch (InterruptedException stopped) {
      Thread.currentThread().interrupt();
    }
  }

  private void settleWhenDone(Future<?> work, Delivery delivery) throws InterruptedException {
    var settlement = Settlement.newBuilder().setReceipt(delivery.getReceipt());
    try {
      while (true) {
        try {
          work.get(LEASE_SECONDS * 1_000 / 3, TimeUnit.MILLISECONDS);
          settle(settlement.setAck(Ack.getDefaultInstance()).build());
          handler.acked(delivery);
          return;
        } catch (TimeoutException busy) {
          settle(settlement.setExtend(Extend.newBuilder().setLease(LEASE)).build());
        } catch (ExecutionException failed) {
          String why = String.valueOf(failed.getCause());
          settle(settlement.setNack(Nack.newBuilder().setError(why)).build());
          return;
        }
      }
    } catch (Fault fault) {
      work.cancel(true);
      System.err.printf(
          "%s will be delivered again: %s%n", delivery.getMessageId(), fault.getMessage());
    }
  }

  private void settle(Settlement settlement) throws Fault, InterruptedException {
    var request = SettleRequest.newBuilder().setQueue(queue).addSettlements(settlement).build();
    int[] tries = {0};
    cluster.call(
        channel -> {
          tries[0]++;
          var stub = MessageServiceGrpc.newBlockingV2Stub(channel);
          var answer = stub.withDeadlineAfter(5, TimeUnit.SECONDS).settle(request);
          var result = answer.getResults(0);
          boolean gone = result.getError().getCode() == Status.Code.NOT_FOUND.value();
          // Gone at the second try: the first one did it, and its answer was lost.
          if (result.hasError() && !(gone && tries[0] > 1)) {
            throw Fault.of(result.getError());
          }
          return null;
        });
  }
}
