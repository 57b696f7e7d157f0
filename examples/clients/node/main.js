// Sends COUNT messages to a queue and receives them all, whichever node is lost meanwhile.
//
//   node main.js HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE COUNT

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster, Producer } from "./client.js";
import { Consumer, LEASE } from "./consumer.js";

const BATCH = 50;
const SLOW = "00"; // a message whose number ends so takes longer than its lease
const IDLE = 30_000; // ms without an ack, then what is missing is lost

/** What was sent, how often each message came under which id, and what was acked. */
class Ledger {
  run = randomUUID();
  sent = new Set();
  came = new Map();
  acked = new Set();
  lastAck = Date.now();

  /** The work. A message may come twice: what is done here has to bear that. */
  handle = async ({ body, messageId }, lost) => {
    const text = body.toString();
    if (!text.startsWith(this.run)) return; // an earlier run did not take it
    this.came.set(text, [...(this.came.get(text) ?? []), messageId]);
    if (text.endsWith(SLOW)) await sleep(1.5 * LEASE * 1_000, null, { signal: lost });
  };

  onAck = ({ body }) => {
    if (body.toString().startsWith(this.run)) this.acked.add(body.toString());
    this.lastAck = Date.now();
  };

  /** Resolves when all are acked, or none was for long. */
  async complete(count) {
    while (this.acked.size < count && Date.now() < this.lastAck + IDLE) await sleep(20);
  }

  /** Prints one line; whether all were acked and none was stored twice. */
  report() {
    const lost = [...this.sent].filter((body) => !this.came.has(body)).length;
    const all = [...this.came.values()];
    const duplicates = all.reduce((sum, ids) => sum + ids.length - 1, 0);
    const doubled = all.filter((ids) => new Set(ids).size > 1).length;
    const line = `sent=${this.sent.size} acked=${this.acked.size} lost=${lost}`;
    console.log(`${line} duplicates=${duplicates}${doubled ? ` doubled=${doubled}` : ""}`);
    return this.acked.size === this.sent.size && !lost && !doubled;
  }
}

async function send(producer, ledger, count) {
  for (let first = 0; first < count; first += BATCH) {
    const numbers = Array.from({ length: Math.min(BATCH, count - first) }, (_, n) => first + n);
    const bodies = numbers.map((number) => `${ledger.run}/${number}`);
    await producer.send(bodies);
    bodies.forEach((body) => ledger.sent.add(body));
  }
  await ledger.complete(count);
}

const [endpoints, queue, count] = process.argv.slice(2);
const cluster = new Cluster(endpoints.split(","));
const ledger = new Ledger();
try {
  const producer = await Producer.open(cluster, queue);
  const consumer = new Consumer(cluster, queue, ledger);
  await Promise.race([consumer.run(), send(producer, ledger, Number(count))]);
  consumer.stop();
  process.exitCode = ledger.report() ? 0 : 1;
} catch (fault) {
  console.error(fault.message);
  process.exitCode = 1;
}
cluster.close();
