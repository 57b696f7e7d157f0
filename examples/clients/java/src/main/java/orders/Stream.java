package orders;

import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import roadstead.v1.Message.ReceiveStreamRequest;
import roadstead.v1.Message.ReceiveStreamResponse;
import roadstead.v1.MessageServiceGrpc;

/** A stream of deliveries to read from. Its credit bounds what waits here. */
final class Stream implements StreamObserver<ReceiveStreamResponse> {
  private final BlockingQueue<Object> frames = new LinkedBlockingQueue<>();
  private final ClientCallStreamObserver<ReceiveStreamRequest> requests;

  Stream(ManagedChannel channel) {
    var stub = MessageServiceGrpc.newStub(channel);
    requests = (ClientCallStreamObserver<ReceiveStreamRequest>) stub.receiveStream(this);
  }

  /** Is of no effect when the stream has ended, which whoever reads is told. */
  synchronized void write(ReceiveStreamRequest frame) {
    requests.onNext(frame);
  }

  /** The next frame; the stream is over when none comes for so long. */
  ReceiveStreamResponse read(long seconds) throws StatusException, InterruptedException {
    Object frame = frames.poll(seconds, TimeUnit.SECONDS);
    if (frame instanceof ReceiveStreamResponse response) {
      return response;
    }
    if (frame instanceof StatusException ended) {
      throw ended;
    }
    requests.cancel("nothing came in time", null);
    throw Status.DEADLINE_EXCEEDED.withDescription("nothing came in time").asException();
  }

  @Override
  public void onNext(ReceiveStreamResponse frame) {
    frames.add(frame);
  }

  @Override
  public void onError(Throwable error) {
    var status = Status.fromThrowable(error);
    frames.add(status.asException(Status.trailersFromThrowable(error)));
  }

  @Override
  public void onCompleted() {
    frames.add(Status.UNAVAILABLE.withDescription("the stream has ended").asException());
  }
}
