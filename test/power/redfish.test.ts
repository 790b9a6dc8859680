import { readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import type { BmcTarget } from "../../server/power/bmc.ts";
import { createRedfish } from "../../server/power/redfish.ts";
import { isServicePath } from "../../server/power/redfish-connection.ts";
import { makeAuthority, type RedfishPlay, startRedfishBoard } from "../support/redfish-board.ts";

const endless = new AbortController().signal;
const password = "canary:wörd";

async function playing(t: Test, play: RedfishPlay = {}, limitMs = 10_000) {
  const board = await startRedfishBoard(t, `admin:${password}`, play);
  const redfish = createRedfish({ clock: systemClock, limitMs });
  const target: BmcTarget = {
    machine: "s4",
    address: "127.0.0.1",
    port: board.port,
    user: "admin",
    password,
    certificate: board.certificate,
    authority: undefined,
    system: undefined,
  };
  return { board, redfish, target };
}

t.test("a board switches its system by the reset types that its ActionInfo allows", async (t) => {
  const { board, redfish, target } = await playing(t);
  t.equal(await redfish.status(target, endless), "off");
  t.equal(await redfish.act(target, "on", endless), "on");
  t.equal(await redfish.status(target, endless), "on");
  t.equal(await redfish.act(target, "cycle", endless), "on");
  t.equal(await redfish.act(target, "off", endless), "off");
  t.equal(await redfish.act(target, "off", endless), "off", "what is off is left alone");
  t.equal(await redfish.act(target, "cycle", endless), "on", "what is off is switched on");
  t.strictSame(board.resets(), ["On", "ForceRestart", "ForceOff", "On"]);
});

t.test("a board that can't restart does it in two steps, and one that allows nothing says so", async (t) => {
  const { board, redfish, target } = await playing(t, { allowed: ["On", "ForceOff"], isOn: true });
  t.equal(await redfish.act(target, "cycle", endless), "on");
  t.strictSame(board.resets(), ["ForceOff", "On"]);
  const poor = await playing(t, { allowed: ["Nmi"] });
  await t.rejects(poor.redfish.act(poor.target, "on", endless), { code: "BMC_REFUSED", message: /Nmi/ });
  t.strictSame(poor.board.resets(), []);
});

t.test("a board with another certificate hears nothing at all, and its fingerprint is told", async (t) => {
  const { board, redfish, target } = await playing(t);
  for (const certificate of ["ab".repeat(32), undefined])
    await t.rejects(redfish.act({ ...target, certificate }, "on", endless), {
      code: "BMC_CERTIFICATE_REFUSED",
      message: new RegExp(board.certificate),
    });
  t.strictSame(board.asked, []);
});

t.test("a board whose certificate an authority of the lab signed for that address is trusted", async (t) => {
  const authority = makeAuthority(t);
  const pem = readFileSync(authority.certificate, "utf8");
  const trusting = async (subjectAltName: string) => {
    const { board, redfish, target } = await playing(t, { signed: { by: authority, subjectAltName } });
    return { board, redfish, target: { ...target, certificate: undefined, authority: pem } };
  };
  const own = await trusting("IP:127.0.0.1");
  t.equal(await own.redfish.status(own.target, endless), "off");
  const other = readFileSync(makeAuthority(t).certificate, "utf8");
  const elsewhere = await trusting("IP:127.0.0.2,DNS:board");
  for (const [{ board, redfish }, target] of [
    [own, { ...own.target, authority: other }],
    [own, { ...own.target, authority: undefined }],
    [elsewhere, elsewhere.target],
  ] as const) {
    const before = board.asked.length;
    await t.rejects(redfish.status(target, endless), { code: "BMC_CERTIFICATE_REFUSED" });
    t.equal(board.asked.length, before, "it hears nothing");
  }
});

t.test("a wrong password is told as such", async (t) => {
  const { redfish, target } = await playing(t);
  await t.rejects(redfish.act({ ...target, password: "other" }, "on", endless), {
    code: "BMC_REFUSED",
    message: /password/,
  });
});

t.test("redirects and links to elsewhere are not followed, whatever a board says", async (t) => {
  const elsewhere = await startRedfishBoard(t, "admin:other");
  const url = `https://127.0.0.1:${elsewhere.port}/redfish/v1/Systems`;
  const links = [
    url,
    "//evil.example/redfish/v1",
    "/redfish/v1/../../etc",
    "/redfish/v1?x",
    "/other",
    "@evil.example/",
    5,
  ];
  for (const link of links) {
    const { board, redfish, target } = await playing(t, {
      answer: (_, path) =>
        path === "/redfish/v1/" ? { status: 200, body: { Systems: { "@odata.id": link } } } : undefined,
    });
    await t.rejects(
      redfish.status(target, endless),
      { code: "BMC_REFUSED", message: /outside/ },
      String(link),
    );
    t.equal(board.asked.length, 1);
  }
  for (const status of [301, 302, 307, 308]) {
    const { board, redfish, target } = await playing(t, {
      answer: () => ({ status, headers: { location: url } }),
    });
    await t.rejects(redfish.status(target, endless), { code: "BMC_REFUSED", message: /elsewhere/ });
    t.equal(board.asked.length, 1);
  }
  const { redfish, target } = await playing(t, {
    answer: (_, path) =>
      path === "/redfish/v1/Systems/1"
        ? { status: 200, body: { Actions: { "#ComputerSystem.Reset": { target: url } } } }
        : undefined,
  });
  await t.rejects(redfish.act(target, "on", endless), { code: "BMC_REFUSED", message: /outside/ });
  t.strictSame(elsewhere.asked, []);
});

t.test("answers that are no documents, too large or too slow end the order", async (t) => {
  const answered = async (body: unknown, status = 200) => {
    const { redfish, target } = await playing(t, { answer: () => ({ status, body }) });
    return redfish.status(target, endless);
  };
  for (const body of ["", "[]", "null", "{", '"x"'])
    await t.rejects(answered(body), { code: "BMC_REFUSED", message: /no document/ }, body);
  await t.rejects(answered("{}", 503), { code: "BMC_UNREACHABLE", message: /busy/ });
  await t.rejects(answered(`{"a":"${"x".repeat(600_000)}"}`), { code: "BMC_UNREACHABLE" });
  await t.rejects(answered({ Systems: {} }), { code: "BMC_REFUSED", message: /no system/ });

  const silent = createServer((socket) => {
    t.teardown(() => socket.destroy());
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.teardown(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const { redfish, target } = await playing(t, {}, 300);
  await t.rejects(redfish.status({ ...target, port }, endless), {
    code: "BMC_UNREACHABLE",
    message: /no end within 0.3 s/,
  });
  const order = new AbortController();
  silent.once("connection", () => order.abort(new Error("cancelled")));
  await t.rejects(redfish.status({ ...target, port }, order.signal), { message: "cancelled" });
});

t.test("a board with several systems wants to be told which one", async (t) => {
  const { board, redfish, target } = await playing(t, {
    answer: (_, path) =>
      path === "/redfish/v1/Systems"
        ? {
            status: 200,
            body: {
              Members: ["1", "blade-2"].map((name) => ({ "@odata.id": `/redfish/v1/Systems/${name}` })),
            },
          }
        : undefined,
  });
  await t.rejects(redfish.act(target, "on", endless), {
    code: "BMC_REFUSED",
    message: /--system: 1, blade-2/,
  });
  t.equal(await redfish.act({ ...target, system: "1" }, "on", endless), "on");
  t.strictSame(board.resets(), ["On"]);
});

t.test("addresses are of the service itself, or they are none", (t) => {
  for (const path of [
    "/redfish/v1",
    "/redfish/v1/",
    "/redfish/v1/Systems/437XR1138R2/Actions/ComputerSystem.Reset",
  ])
    t.ok(isServicePath(path), path);
  for (const path of [
    "",
    "redfish/v1",
    "/redfish/v10",
    "//a/redfish/v1",
    "/redfish/v1//a",
    "/redfish/v1/a b",
    "/redfish/v1/%2e",
    "/redfish/v1/a\r\nb",
  ])
    t.notOk(isServicePath(path), JSON.stringify(path));
  t.end();
});
