import { PassThrough } from "node:stream";
import t from "tap";
import { giveBack } from "../../server/domain/give-back.ts";
import { batchesOf, type Exchange } from "../../server/http/v2/exchange.ts";

/** A body without a connection. */
function bodyWithout() {
  const request = Object.assign(new PassThrough({ highWaterMark: 1 }), { socket: { setTimeout: () => {} } });
  const exchange = { request, expectsContinue: false } as unknown as Exchange;
  return { request, batches: batchesOf(exchange, () => 10)[Symbol.asyncIterator]() };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

t.test("the body of an upload", async (t) => {
  t.test("comes in batches, and its client waits until the next one is asked for", async (t) => {
    const { request, batches } = bodyWithout();
    for (const text of ["12345", "67890", "abc"]) request.write(text);
    const first = await batches.next();
    t.equal(Buffer.concat(first.value as Buffer[]).toString(), "1234567890");
    await turn();
    t.ok(request.isPaused());
    t.ok(request.readableLength + request.writableLength > 0, "the rest is not taken yet");
    request.end();
    const second = await batches.next();
    t.equal(Buffer.concat(second.value as Buffer[]).toString(), "abc");
    t.same(await batches.next(), { done: true, value: undefined });
  });
  t.test("hands over what came before its client went, and then says so", async (t) => {
    const { request, batches } = bodyWithout();
    const next = batches.next();
    request.write("123");
    await turn();
    request.destroy();
    t.equal(Buffer.concat((await next).value as Buffer[]).toString(), "123");
    await t.rejects(batches.next(), { message: /the client went/ });
  });
  t.test("fails at once when its client went before it was asked for", async (t) => {
    const { request, batches } = bodyWithout();
    request.destroy();
    await t.rejects(batches.next(), { message: /the client went/ });
    const late = new PassThrough();
    late.destroy();
    await turn();
    const exchange = {
      request: Object.assign(late, { socket: { setTimeout: () => {} } }),
      expectsContinue: false,
    };
    const iterator = batchesOf(exchange as unknown as Exchange, () => 10)[Symbol.asyncIterator]();
    await t.rejects(iterator.next(), { message: /the client went/ });
  });
});

t.test("memory is given back of octets that have it for themselves, and of no others", async (t) => {
  const own = new Uint8Array(100).fill(7);
  giveBack(own);
  t.equal(own.length, 0);
  const shared = new Uint8Array(100).fill(7);
  giveBack(shared.subarray(0, 50));
  t.equal(shared.length, 100);
  t.equal(shared[99], 7);
});
