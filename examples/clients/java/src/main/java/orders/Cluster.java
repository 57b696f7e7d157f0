package orders;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusException;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import roadstead.v1.QueueOuterClass.QueueRef;

/** Goes to the first endpoint that answers: any node serves any request. */
final class Cluster implements AutoCloseable {
  /** A send that is repeated within a minute is known again. */
  private static final long PATIENCE_NANOS = TimeUnit.SECONDS.toNanos(45);

  interface Attempt<T> {
    T make(ManagedChannel channel) throws Fault, StatusException, InterruptedException;
  }

  private final ConcurrentLinkedDeque<ManagedChannel> channels = new ConcurrentLinkedDeque<>();

  Cluster(List<String> endpoints) {
    for (String endpoint : endpoints) {
      var builder = Grpc.newChannelBuilder(endpoint, InsecureChannelCredentials.create());
      builder.keepAliveTime(10, TimeUnit.SECONDS).keepAliveTimeout(5, TimeUnit.SECONDS);
      channels.add(builder.build());
    }
  }

  /** The queue called NAMESPACE/NAME, or NAME in the namespace {@code default}. */
  static QueueRef queueRef(String text) {
    String[] parts = text.contains("/") ? text.split("/", 2) : new String[] {"default", text};
    return QueueRef.newBuilder().setNamespace(parts[0]).setName(parts[1]).build();
  }

  /** Makes the attempt at one endpoint after the other, as long as that may help. */
  <T> T call(Attempt<T> attempt) throws Fault, InterruptedException {
    long began = System.nanoTime();
    for (long pause = 50; ; pause = Math.min(2 * pause, 1_000)) {
      ManagedChannel channel = channels.getFirst();
      Fault fault;
      try {
        return attempt.make(channel);
      } catch (Fault entry) {
        fault = entry;
      } catch (StatusException error) {
        fault = Fault.of(error);
      }
      if (!fault.retryable || System.nanoTime() - began > PATIENCE_NANOS) {
        throw fault;
      }
      leave(channel);
      Thread.sleep(ThreadLocalRandom.current().nextLong(pause / 2, pause));
    }
  }

  /** Moves on to the next endpoint, unless somebody else did. */
  private synchronized void leave(ManagedChannel channel) {
    if (channels.getFirst() == channel) {
      channels.addLast(channel);
      channels.removeFirst();
    }
  }

  @Override
  public void close() {
    channels.forEach(ManagedChannel::shutdownNow);
  }
}
