package orders;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import roadstead.v1.Error.ErrorDetail;
import roadstead.v1.Message.EntryError;

/** Why a call, or one entry of a batch, failed. */
final class Fault extends Exception {
  final int code;

  /** The same request may succeed later, or at another endpoint. */
  final boolean retryable;

  private Fault(int code, String message, boolean retryable) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }

  static Fault of(EntryError error) {
    return new Fault(error.getCode(), error.getMessage(), error.getRetryable());
  }

  static Fault of(StatusException error) {
    try {
      var status = StatusProto.fromThrowable(error);
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorDetail.class)) {
          boolean retryable = detail.unpack(ErrorDetail.class).getRetryable();
          return new Fault(status.getCode(), status.getMessage(), retryable);
        }
      }
    } catch (InvalidProtocolBufferException odd) {
      error.addSuppressed(odd);
    }
    return unanswered(error.getMessage());
  }

  /** No node of Roadstead said anything: it is dead, or this is not its port. */
  static Fault unanswered(String message) {
    return new Fault(Status.Code.UNAVAILABLE.value(), message, true);
  }
}
