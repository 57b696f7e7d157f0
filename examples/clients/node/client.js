import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const PATIENCE = 45_000; // ms; a send that is repeated within a minute is known again
const KEEPALIVE = { "grpc.keepalive_time_ms": 10_000, "grpc.keepalive_timeout_ms": 5_000 };

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const protos = loader.loadSync(
  ["roadstead/v1/queue.proto", "roadstead/v1/message.proto", "roadstead/v1/error.proto"]
    .concat("status.proto"),
  { includeDirs: [here("../../../proto/proto"), here(".")], defaults: true, oneofs: true },
);
const { MessageService, QueueService } = grpc.loadPackageDefinition(protos).roadstead.v1;
const [rpcStatus, errorDetail] = [protos["google.rpc.Status"], protos["roadstead.v1.ErrorDetail"]];

/** Why a call, or one entry of a batch, failed. */
export class Fault extends Error {
  constructor({ code, message, retryable }) {
    super(message);
    this.code = code;
    /** The same request may succeed later, or at another endpoint. */
    this.retryable = retryable;
  }

  /** Of what a call or a stream was rejected with. */
  static from(error) {
    if (error instanceof Fault) return error;
    const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const details = bytes ? rpcStatus.deserialize(bytes).details : [];
    const any = details.find((one) => one.type_url.endsWith("/roadstead.v1.ErrorDetail"));
    const message = error.details ?? error.message;
    if (any) {
      const { retryable } = errorDetail.deserialize(any.value);
      return new Fault({ code: error.code, message, retryable });
    }
    // No node of Roadstead said it: it is dead, or this is not its port.
    return new Fault({ code: grpc.status.UNAVAILABLE, message, retryable: true });
  }
}

/** The queue called NAMESPACE/NAME, or NAME in the namespace `default`. */
export function queueRef(text) {
  const [name, namespace = "default"] = text.split("/").reverse();
  return { namespace, name };
}

/** Makes a unary call that is answered within `ms`. */
export function unary(service, method, request, ms) {
  return new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    service[method](request, { deadline: Date.now() + ms }, done);
  });
}

/** Goes to the first endpoint that answers: any node serves any request. */
export class Cluster {
  constructor(endpoints) {
    const open = (Service, endpoint) =>
      new Service(endpoint, grpc.credentials.createInsecure(), KEEPALIVE);
    this.nodes = endpoints.map((endpoint) => ({
      messages: open(MessageService, endpoint),
      queues: open(QueueService, endpoint),
    }));
  }

  /** Makes the attempt at one endpoint after the other, as long as that may help. */
  async call(attempt) {
    const giveUp = Date.now() + PATIENCE;
    for (let pause = 50; ; pause = Math.min(2 * pause, 1_000)) {
      const node = this.nodes[0];
      try {
        return await attempt(node);
      } catch (error) {
        const fault = Fault.from(error);
        if (!fault.retryable || Date.now() > giveUp) throw fault;
      }
      if (node === this.nodes[0]) this.nodes.push(this.nodes.shift()); // unless another one did
      await sleep(pause * (0.5 + Math.random() / 2));
    }
  }

  close() {
    for (const node of this.nodes) [node.messages, node.queues].forEach((one) => one.close());
  }
}

/** Sends one batch after the other, to each partition of a queue in turn. */
export class Producer {
  #next; // the number of each partition's next message
  #turn = 0;

  /** Asks for the number of partitions; fails where there is no such queue. */
  static async open(cluster, name) {
    const producer = new Producer();
    Object.assign(producer, { cluster, queue: queueRef(name), id: randomUUID() });
    const request = { queue: producer.queue };
    const answer = await cluster.call(({ queues }) => unary(queues, "getQueue", request, 5_000));
    producer.#next = Array(answer.queue.spec.partitions).fill(1);
    return producer;
  }

  /** Resolves when all are on disk on a majority. A retry carries the same numbers. */
  async send(bodies) {
    const partition = this.#turn % this.#next.length;
    const request = {
      queue: this.queue,
      partition,
      producer: { id: this.id, firstSequence: this.#next[partition] },
      messages: bodies.map((body) => ({ body: Buffer.from(body) })),
    };
    // Also those of a message that is refused: others of the batch may be stored.
    this.#next[partition] += bodies.length;
    this.#turn += 1;
    await this.cluster.call(async ({ messages }) => {
      const { results } = await unary(messages, "send", request, 10_000);
      const failed = results.find((result) => result.error);
      if (failed) throw new Fault(failed.error);
    });
  }
}
