import fc from "fast-check";
import t from "tap";
import { decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { encodedLength, orderOptions, spreadOptions } from "../../server/dhcp/wire/options.ts";
import { requestMessage } from "../support/dhcp-messages.ts";

const room = { file: 128, sname: 64 };

t.test("what fits is not spread, and no option 52 is sent (RFC 2132 s.9.3)", (t) => {
  const options = new Map([[53, Uint8Array.of(2)]]);
  t.strictSame(spreadOptions(options, 308, room), { options, file: undefined, sname: undefined });
  t.end();
});

t.test(
  "too long for 576 octets: both text fields take options; 53, 54 and 82 stay, 82 last (RFC 3046 s.2.2)",
  (t) => {
    const options = orderOptions(
      new Map([
        [53, Uint8Array.of(2)],
        [54, Uint8Array.of(10, 0, 0, 1)],
        [15, new Uint8Array(100).fill(0x64)],
        [119, new Uint8Array(110).fill(1)],
        [121, new Uint8Array(60).fill(2)],
        [82, new Uint8Array(180).fill(3)],
      ]),
      [],
    );
    const spread = spreadOptions(options, 308, room);
    t.ok(encodedLength(spread.options) <= 308);
    t.strictSame([...spread.options.keys()].slice(0, 2), [53, 52]);
    t.equal([...spread.options.keys()].at(-1), 82);
    const { options: main, file, sname } = spread;
    const read = decodeMessage(
      encodeMessage({ ...requestMessage({ type: "Offer" }), options: main, overload: { file, sname } }),
    );
    for (const [code, value] of options)
      t.strictSame([...(read.options.get(code) ?? [])], [...value], `${code}`);
    t.strictSame([read.file, read.sname], ["", ""], "they carry options, no names");
    t.end();
  },
);

t.test(
  "whatever is spread is read again exactly, and fields keep their size (RFC 2131 s.4.1, RFC 3396)",
  (t) => {
    const option = fc.tuple(fc.integer({ min: 1, max: 254 }), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(fc.array(option, { maxLength: 12 }), fc.boolean(), (list, hasFile) => {
        const raw = new Map<number, Uint8Array>([
          [53, Uint8Array.of(2)],
          ...list.filter(([code]) => ![52, 53].includes(code)),
        ]);
        const ordered = orderOptions(raw, []);
        const spread = spreadOptions(ordered, 308, { file: hasFile ? 0 : 128, sname: 64 });
        const { options, file, sname } = spread;
        if (hasFile && file) return false;
        const message = { ...requestMessage({ type: "Offer" }), options, overload: { file, sname } };
        const read = decodeMessage(encodeMessage(message)).options;
        return [...raw].every(
          ([code, value]) => Buffer.compare(Buffer.from(read.get(code) ?? [-1]), Buffer.from(value)) === 0,
        );
      }),
      { numRuns: 500 },
    );
    t.pass("500 sets of options");
    t.end();
  },
);

t.test("option 82 stays where it is, however short and however full the rest (RFC 3046 s.2.2)", (t) => {
  const options = orderOptions(
    new Map([
      [53, Uint8Array.of(2)],
      [15, new Uint8Array(255)],
      [82, new Uint8Array(60)],
    ]),
    [],
  );
  const { options: main, file, sname } = spreadOptions(options, 308, room);
  t.ok(main.has(82));
  t.notOk(file?.has(82) || sname?.has(82));
  t.end();
});
