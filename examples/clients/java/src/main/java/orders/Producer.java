package orders;

import com.google.protobuf.ByteString;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import roadstead.v1.Message;
import roadstead.v1.Message.OutgoingMessage;
import roadstead.v1.Message.SendRequest;
import roadstead.v1.Message.SendResult;
import roadstead.v1.MessageServiceGrpc;
import roadstead.v1.QueueOuterClass.GetQueueRequest;
import roadstead.v1.QueueOuterClass.QueueRef;
import roadstead.v1.QueueServiceGrpc;

/** Sends one batch after the other, to each partition of a queue in turn. */
final class Producer {
  private final Cluster cluster;
  private final QueueRef queue;
  private final String id = UUID.randomUUID().toString();

  /** The number of each partition's next message. */
  private final long[] next;

  private int turn;

  /** Asks for the number of partitions; fails where there is no such queue. */
  Producer(Cluster cluster, String name) throws Fault, InterruptedException {
    this.cluster = cluster;
    this.queue = Cluster.queueRef(name);
    var request = GetQueueRequest.newBuilder().setQueue(queue).build();
    var answer =
        cluster.call(
            channel ->
                QueueServiceGrpc.newBlockingV2Stub(channel)
                    .withDeadlineAfter(5, TimeUnit.SECONDS)
                    .getQueue(request));
    next = new long[answer.getQueue().getSpec().getPartitions()];
    Arrays.fill(next, 1);
  }

  /** Returns when all are on disk on a majority. A retry carries the same numbers. */
  void send(List<String> bodies) throws Fault, InterruptedException {
    int partition = turn++ % next.length;
    var numbers = Message.Producer.newBuilder().setId(id).setFirstSequence(next[partition]);
    var request = SendRequest.newBuilder().setQueue(queue).setPartition(partition);
    request.setProducer(numbers);
    for (String body : bodies) {
      request.addMessages(OutgoingMessage.newBuilder().setBody(ByteString.copyFromUtf8(body)));
    }
    next[partition] += bodies.size();
    cluster.call(
        channel -> {
          var stub = MessageServiceGrpc.newBlockingV2Stub(channel);
          var answer = stub.withDeadlineAfter(10, TimeUnit.SECONDS).send(request.build());
          for (SendResult result : answer.getResultsList()) {
            if (result.hasError()) {
              throw Fault.of(result.getError());
            }
          }
          return null;
        });
  }
}
