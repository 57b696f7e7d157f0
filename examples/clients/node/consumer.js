import { randomUUID } from "node:crypto";
import grpc from "@grpc/grpc-js";
import { Fault, queueRef, unary } from "./client.js";

const CREDIT = 100; // messages that are with the handlers at the same time
export const LEASE = 10; // s

/** Calls `handle` for up to CREDIT messages at once, and `onAck` when one is gone for good. */
export class Consumer {
  #session = randomUUID(); // the same for every stream, so that leases go on
  #streams = 0;
  #held = new Map(); // receipts of what is not settled, by their text
  #stream;
  #stopped = false;

  constructor(cluster, name, { handle, onAck }) {
    Object.assign(this, { cluster, queue: queueRef(name), handle, onAck });
  }

  /** Receives until stopped; a stream that breaks is followed by another one. */
  async run() {
    while (!this.#stopped) {
      const frames = await this.cluster.call(({ messages }) => this.#open(messages));
      try {
        for await (const { deliveries } of frames) {
          for (const delivery of deliveries?.deliveries ?? []) {
            this.#held.set(delivery.receipt.toString("hex"), delivery.receipt);
            void this.#work(delivery);
          }
        }
      } catch (error) {
        const fault = Fault.from(error);
        if (!fault.retryable) throw fault;
      }
    }
  }

  stop() {
    this.#stopped = true;
    this.#stream?.end();
  }

  async #open(messages) {
    const stream = messages.receiveStream();
    stream.write({
      open: {
        queue: this.queue,
        sessionId: this.#session,
        stream: ++this.#streams,
        heldReceipts: [...this.#held.values()],
        lease: { seconds: LEASE },
      },
    });
    const tooLong = setTimeout(() => stream.cancel(), 5_000);
    const frames = stream[Symbol.asyncIterator]();
    try {
      const { done } = await frames.next(); // `opened`
      if (done) throw new Error("the stream has ended");
      this.#stream = stream;
      this.#grant(CREDIT - this.#held.size);
      if (this.#stopped) stream.end();
      return frames;
    } finally {
      clearTimeout(tooLong);
    }
  }

  /** Lets so many more messages come. A new stream begins with what a broken one did not get. */
  #grant(messages) {
    if (this.#stream.writable) this.#stream.write({ credit: { messages } });
  }

  /** Extends the lease for as long as the handler works, then settles. */
  async #work(delivery) {
    const lost = new AbortController();
    const extend = () =>
      this.#settle(delivery, { extend: { lease: { seconds: LEASE } } }).catch((fault) =>
        lost.abort(fault),
      );
    const timer = setInterval(extend, (LEASE * 1_000) / 3);
    try {
      const failed = await this.handle(delivery, lost.signal).then(() => null, (error) => error);
      clearInterval(timer);
      lost.signal.throwIfAborted();
      await this.#settle(delivery, failed ? { nack: { error: `${failed}` } } : { ack: {} });
      if (!failed) this.onAck(delivery);
    } catch (fault) {
      console.error(`${delivery.messageId} will be delivered again: ${fault.message}`);
    } finally {
      clearInterval(timer);
      this.#held.delete(delivery.receipt.toString("hex"));
      this.#grant(1);
    }
  }

  async #settle({ receipt }, action) {
    const request = { queue: this.queue, settlements: [{ receipt, ...action }] };
    let tries = 0;
    await this.cluster.call(async ({ messages }) => {
      tries += 1;
      const { results } = await unary(messages, "settle", request, 5_000);
      const { error } = results[0];
      // Gone at the second try: the first one did it, and its answer was lost.
      if (error && !(error.code === grpc.status.NOT_FOUND && tries > 1)) throw new Fault(error);
    });
  }
}
