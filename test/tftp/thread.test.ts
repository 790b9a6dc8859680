import t from "tap";
import { silentLog } from "../../server/platform/logger.ts";
import { systemClock } from "../../server/platform/clock.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { bufferFile } from "../../server/tftp/file-routes.ts";
import type { RunningTransfer, TransferJob } from "../../server/tftp/player.ts";
import { DefaultTimings } from "../../server/tftp/timings.ts";
import { createThreadEngine } from "../../server/tftp/thread-engine.ts";
import { createThreadLoop, type ThreadSurroundings } from "../../server/tftp/thread-loop.ts";
import {
  createSharedProgress,
  type FromThread,
  type ToThread,
  viewProgress,
} from "../../server/tftp/thread-messages.ts";
import { startTftpThread } from "../../server/tftp-thread.ts";
import { negotiateOptions } from "../../server/tftp/wire/options.ts";
import {
  decodePacket,
  encodePacket,
  type TftpPacket,
  type WireOption,
} from "../../server/tftp/wire/packet.ts";
import { loopbackUdp } from "../support/loopback-udp.ts";
import { createTalker, fetchFile, readRequest } from "../support/tftp-client.ts";
import { contentOf } from "../support/tftp-simulation.ts";
import { eventually, filesRoute, patternRoute, startTftpLab } from "../support/tftp-lab.ts";

const client = { address: "192.0.2.7", port: 2070 };
type Handlers = Parameters<ThreadSurroundings["sockets"]["open"]>[2];

/** A loop on a made-up network: each turn asks `play` what happens next. */
function loopWith(content: Uint8Array, asked: readonly WireOption[]) {
  const said: FromThread[] = [];
  const sends: { octets: Uint8Array; segmentBytes: number }[] = [];
  const inbox: ToThread[] = [];
  const progress = createSharedProgress();
  const lab = {
    said,
    sends,
    progress: viewProgress(progress),
    nowMs: 0,
    closed: 0,
    waits: [] as number[],
    handlers: undefined as Handlers | undefined,
    send: (message: ToThread) => inbox.push(message),
    hear: (packet: TftpPacket) => lab.handlers?.onMessage(encodePacket(packet)),
    run(turns: (() => void)[]): void {
      const loop = createThreadLoop({
        sockets: {
          open(_local, _peer, handlers) {
            lab.handlers = handlers;
            const keep = (data: Uint8Array, segmentBytes: number) =>
              void sends.push({ octets: Uint8Array.from(data), segmentBytes });
            return {
              send: (data) => keep(data, data.length),
              sendSegments: keep,
              close: () => void lab.closed++,
            };
          },
          turn(timeoutMs) {
            lab.waits.push(timeoutMs);
            const next = turns.shift();
            if (next === undefined) throw new Error("the transfer goes on");
            next();
            return inbox.length > 0;
          },
        },
        monotonicMs: () => lab.nowMs,
        tell(message) {
          said.push(message);
          if (message.kind === "read") {
            const bytes = content.slice(message.offset, message.offset + message.length);
            inbox.push({ kind: "chunk", id: message.id, bytes });
          }
        },
        take: () => inbox.shift(),
      });
      loop.run({
        kind: "begin",
        id: 7,
        client,
        device: undefined,
        serverAddress: "192.0.2.1",
        options: negotiateOptions(asked, content.length, { maxBlockSizeBytes: 1468, maxWindowBlocks: 16 }),
        timings: DefaultTimings,
        sizeBytes: content.length,
        requestBytes: 40,
        progress,
      });
    },
  };
  return lab;
}
const nothing = () => undefined;

t.test("a window leaves as one burst, in datagrams of one size, the last may be shorter", (t) => {
  const content = contentOf(512 * 6 + 100);
  const lab = loopWith(content, [["windowsize", "4"]]);
  lab.run([
    nothing,
    () => lab.hear({ kind: "ack", block: 0 }),
    () => lab.hear({ kind: "ack", block: 4 }),
    () => lab.hear({ kind: "ack", block: 7 }),
  ]);
  const [oack, first, second] = lab.sends;
  t.match(decodePacket(oack?.octets ?? new Uint8Array()), { kind: "oack" });
  t.match(first, { octets: { length: 4 * 516 }, segmentBytes: 516 });
  t.match(second, { octets: { length: 2 * 516 + 104 }, segmentBytes: 516 });
  const got = [first, second].flatMap((send) => {
    if (send === undefined) return [];
    const { octets, segmentBytes } = send;
    return Array.from({ length: Math.ceil(octets.length / segmentBytes) }, (_, n) =>
      octets.slice(n * segmentBytes + 4, (n + 1) * segmentBytes),
    );
  });
  t.ok(Buffer.concat(got).equals(content));
  t.match(lab.said.at(-1), { kind: "ended", id: 7, outcome: "complete" });
  t.equal(lab.closed, 1);
  t.match({ ...lab.progress, sentBytes: lab.progress.sentBytes }, { sentBytes: content.length });
  t.end();
});
t.test(
  "what is not answered is sent again when its time has come, and the loop waits no longer than that",
  (t) => {
    const lab = loopWith(contentOf(100), [["tsize", "0"]]);
    const pass = () => void (lab.nowMs += lab.waits.at(-1) ?? 0);
    lab.run([nothing, ...Array.from({ length: 20 }, () => pass)].slice(0, 21).concat(pass));
    t.equal(lab.sends.length, 4);
    t.match(lab.said.at(-1), { kind: "ended", outcome: "timed-out" });
    t.ok(lab.waits.every((waitMs) => waitMs <= 250));
    t.equal(lab.nowMs, 3000);
    t.end();
  },
);
t.test("stop, a failed read and an ERROR end it; a stranger is told off", (t) => {
  for (const [message, outcome] of [
    [{ kind: "stop", id: 7, reason: "bye", tellClient: true }, "cancelled"],
    [{ kind: "read-failed", id: 7 }, "refused"],
  ] as const) {
    const lab = loopWith(contentOf(100), []);
    lab.run([() => lab.send(message), nothing]);
    t.match(lab.said.at(-1), { kind: "ended", outcome });
    t.match(decodePacket(lab.sends.at(-1)?.octets ?? new Uint8Array()), { kind: "error" });
  }
  const lab = loopWith(contentOf(100), []);
  lab.run([
    () => {
      const answer = lab.handlers?.onStranger(encodePacket({ kind: "ack", block: 1 }));
      t.match(decodePacket(answer ?? new Uint8Array()), { kind: "error", code: 5 });
      const error = encodePacket({ kind: "error", code: 0, message: "" });
      t.equal(lab.handlers?.onStranger(error), undefined, "an ERROR is not answered by an ERROR");
      lab.handlers?.onMessage(Uint8Array.of(0, 99, 1));
    },
    () => lab.hear({ kind: "error", code: 0, message: "enough" }),
  ]);
  t.match(lab.said.at(-1), { kind: "ended", outcome: "cancelled" });
  t.end();
});

t.test("when the thread ends its transfers end, and the next ones are played without it", async (t) => {
  const job: TransferJob = {
    client,
    device: undefined,
    serverAddress: "192.0.2.1" as Ipv4,
    options: negotiateOptions([], 10, { maxBlockSizeBytes: 1468, maxWindowBlocks: 16 }),
    timings: DefaultTimings,
    file: bufferFile(new Uint8Array(10)),
    requestBytes: 20,
  };
  let hear: (message: FromThread) => void = nothing;
  let end: () => void = nothing;
  const sent: ToThread[] = [];
  const line = {
    send: (message: ToThread) => void sent.push(message),
    onMessage: (handler: typeof hear) => void (hear = handler),
    onEnd: (handler: typeof end) => void (end = handler),
  };
  let played = 0;
  const instead = {
    play: async () => {
      played++;
      return {} as RunningTransfer;
    },
  };
  const engine = createThreadEngine(line, silentLog, instead);
  const first = engine.play(job);
  hear({ kind: "began", id: 1 });
  const refused = engine.play(job);
  hear({ kind: "failed", id: 2, error: "EMFILE" });
  await t.rejects(refused, /EMFILE/);
  hear({ kind: "read", id: 1, offset: 0, length: 10 });
  await eventually(() => sent.some(({ kind }) => kind === "chunk"));
  const waiting = engine.play(job);
  end();
  t.match(await (await first).ended, { outcome: "timed-out" });
  t.match(await (await waiting).ended, { outcome: "timed-out" });
  await engine.play(job);
  t.equal(played, 1);
});

t.test("on real sockets", async (t) => {
  const thread = await startTftpThread({ udp: loopbackUdp, clock: systemClock, log: silentLog });
  if (thread === undefined) throw new Error("koffi is not installed");
  t.teardown(() => thread.stop());
  const small = Buffer.from(contentOf(3000));
  const lab = (timings = {}) =>
    startTftpLab(t, [filesRoute({ small }), patternRoute("large", 500_000)], {
      engine: thread.engine,
      timings,
    });

  t.test("50 transfers at the same time, with windows, arrive whole", async (t) => {
    const { address, contacts } = await startTftpLab(t, [patternRoute("large", 500_000)], {
      engine: thread.engine,
      limits: { transfersPerClient: 50 },
    });
    const asked: WireOption[] = [
      ["blksize", "1432"],
      ["windowsize", "8"],
    ];
    const all = await Promise.all(Array.from({ length: 50 }, () => fetchFile(address, "large", asked)));
    const [one] = all;
    t.ok(
      all.every(
        ({ content }) => one !== undefined && content.equals(one.content) && content.length === 500_000,
      ),
    );
    await eventually(() => contacts.length === 50);
    t.ok(contacts.every(({ outcome, sentBytes }) => outcome === "complete" && sentBytes === 500_000));
  });
  t.test("a new port of the asked address, ERROR 5 for strangers, and silence ends it", async (t) => {
    const { address, contacts, server } = await lab({ unansweredAfterMs: 300, firstRetransmitMs: 20 });
    const [talker, stranger] = await Promise.all([createTalker(), createTalker()]);
    t.teardown(() => Promise.all([talker.close(), stranger.close()]));
    talker.say(readRequest("small"), address);
    const { packet, from } = await talker.hear();
    t.match(packet, { kind: "data", block: 1 });
    t.equal(from.address, address.address);
    t.not(from.port, address.port);
    stranger.say({ kind: "ack", block: 1 }, from);
    t.match((await stranger.hear()).packet, { kind: "error", code: 5 });
    t.match((await talker.hear()).packet, { kind: "data", block: 1 }, "again, in vain");
    await eventually(() => contacts.length === 1);
    t.match(contacts, [{ outcome: "timed-out", retransmissions: 1 }]);
    await eventually(() => server.transferCount === 0);
  });
  t.test("a server that stops tells its clients, and leaves the thread for the next", async (t) => {
    const { address, contacts, server } = await lab();
    const talker = await createTalker();
    t.teardown(() => talker.close());
    talker.say(readRequest("small", [["tsize", "0"]]), address);
    t.match((await talker.hear()).packet, { kind: "oack" });
    await server.stop();
    let heard = await talker.hear();
    while (heard.packet.kind === "oack") heard = await talker.hear();
    t.match(heard.packet, { kind: "error", code: 0 });
    t.match(contacts, [{ outcome: "cancelled" }]);
    const next = await lab();
    t.ok((await fetchFile(next.address, "small")).content.equals(small));
  });
});
