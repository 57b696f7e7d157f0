package orders;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import roadstead.v1.Message.Delivery;

/** What was sent, how often each message came under which id, and what was acked. */
final class Ledger implements Consumer.Handler {
  /** A message whose number ends so takes longer than its lease. */
  private static final String SLOW = "00";

  /** Without an ack for so long, what is missing is lost. */
  private static final long IDLE_NANOS = TimeUnit.SECONDS.toNanos(30);

  private final String run = UUID.randomUUID().toString();
  private final Set<String> sent = new HashSet<>();
  private final Map<String, List<String>> came = new HashMap<>();
  private final Set<String> acked = new HashSet<>();
  private long lastAck = System.nanoTime();
  private Fault fault;

  String body(int number) {
    return run + "/" + number;
  }

  /** A message may come twice: what is done here has to bear that. */
  @Override
  public void handle(Delivery delivery) throws InterruptedException {
    String body = delivery.getBody().toStringUtf8();
    if (!body.startsWith(run)) {
      return; // an earlier run did not take it
    }
    synchronized (this) {
      came.computeIfAbsent(body, any -> new ArrayList<>()).add(delivery.getMessageId());
    }
    if (body.endsWith(SLOW)) {
      Thread.sleep(Consumer.LEASE_SECONDS * 1_500);
    }
  }

  @Override
  public synchronized void acked(Delivery delivery) {
    String body = delivery.getBody().toStringUtf8();
    if (body.startsWith(run)) {
      acked.add(body);
    }
    lastAck = System.nanoTime();
    notifyAll();
  }

  synchronized void sent(List<String> bodies) {
    sent.addAll(bodies);
  }

  synchronized void fail(Fault fault) {
    this.fault = fault;
    notifyAll();
  }

  /** Returns when all are acked, or none was for long. */
  synchronized void await(int count) throws Fault, InterruptedException {
    while (acked.size() < count && System.nanoTime() - lastAck < IDLE_NANOS) {
      if (fault != null) {
        throw fault;
      }
      wait(1_000);
    }
  }

  /** Prints one line; whether all were acked and none was stored twice. */
  synchronized boolean report() {
    long lost = sent.stream().filter(body -> !came.containsKey(body)).count();
    long duplicates = came.values().stream().mapToLong(ids -> ids.size() - 1).sum();
    long doubled = came.values().stream().filter(ids -> Set.copyOf(ids).size() > 1).count();
    System.out.printf(
        "sent=%d acked=%d lost=%d duplicates=%d%s%n",
        sent.size(), acked.size(), lost, duplicates, doubled > 0 ? " doubled=" + doubled : "");
    return acked.size() == sent.size() && lost == 0 && doubled == 0;
  }
}
