package orders;

import java.util.List;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;

/** Sends COUNT messages to a queue and receives them all, whichever node is lost meanwhile. */
public final class Main {
  private static final int BATCH = 50;

  private Main() {}

  public static void main(String[] args) throws Exception {
    if (args.length != 3) {
      System.err.println("usage: orders HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE COUNT");
      System.exit(2);
    }
    var threads = Executors.newCachedThreadPool();
    var ledger = new Ledger();
    int count = Integer.parseInt(args[2]);
    try (var cluster = new Cluster(List.of(args[0].split(",")))) {
      var producer = new Producer(cluster, args[1]);
      var consumer = new Consumer(cluster, args[1], ledger, threads);
      threads.submit(() -> {
        try {
          consumer.run();
        } catch (Fault fault) {
          ledger.fail(fault);
        }
        return null;
      });
      for (int first = 0; first < count; first += BATCH) {
        var numbers = IntStream.range(first, Math.min(first + BATCH, count));
        List<String> bodies = numbers.mapToObj(ledger::body).toList();
        producer.send(bodies);
        ledger.sent(bodies);
      }
      ledger.await(count);
      System.exit(ledger.report() ? 0 : 1);
    } catch (Fault fault) {
      System.err.println(fault.getMessage());
      System.exit(1);
    }
  }
}
