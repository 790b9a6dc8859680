import t from "tap";
import { PowerNotConfigured } from "../../server/domain/error-catalogue.ts";
import { plain, startServer } from "../support/http-fixture.ts";
import { createFakePower, quickLimits } from "../support/power-lab.ts";

t.test("machines are switched as one operation, with a report of each", async (t) => {
  const power = createFakePower({
    refuse: ({ name }) => (name === "s3" ? PowerNotConfigured({ machine: name }) : undefined),
  });
  const server = await startServer(t, { orders: { power, operationLimits: quickLimits } });
  for (const number of [1, 2, 3]) await server.add(number, `s${number}`);
  const { status, json } = await server.api("POST", "/power", {
    machines: "s[1-3]",
    action: "off",
    wait: true,
  });
  t.match(
    [status, json],
    [
      200,
      {
        kind: "power",
        action: "off",
        state: "failed",
        counts: { done: 2, failed: 1 },
        machines: [
          { machine: "s1", state: "done", steps: [{ name: "power", message: "switched off by redfish" }] },
          { machine: "s2", state: "done" },
          { machine: "s3", state: "failed", steps: [{ code: "POWER_NOT_CONFIGURED", message: /s3/ }] },
        ],
      },
    ],
  );
  t.same(power.orders.map(({ machine }) => machine).sort(), ["s1", "s2", "s3"], "once each");
  t.match((await server.api("GET", `/operations/${plain(json["operation"])}`)).json, { state: "failed" });
  t.match((await server.api("GET", "/operations")).items, [{ kind: "power", counts: { failed: 1 } }]);
  t.match((await server.api("GET", "/power?machines=s1")).items, [{ machine: "s1", method: "redfish" }]);
  const events = await server.api("GET", "/events?type=operation");
  t.match(
    events.items.map((event) => event["type"]),
    ["operation.started", "operation.failed", "operation.ended"],
  );
});

t.test(
  "a machine that told no host key and has no board is not switched off, and is told what to do",
  async (t) => {
    const server = await startServer(t);
    await server.add(1, "s1");
    const { json } = await server.api("POST", "/power", { machines: "s1", action: "off", wait: true });
    t.match(json, { state: "failed", machines: [{ steps: [{ code: "POWER_NOT_CONFIGURED" }] }] });
    t.match((await server.api("GET", "/power?machines=s1")).items, [
      { machine: "s1", method: "wol", state: "unknown" },
    ]);
  },
);

t.test("machines that could not be asked in time stand beside those that could", async (t) => {
  const power = createFakePower();
  const server = await startServer(t, {
    orders: {
      power: {
        ...power,
        status: (machine, signal) =>
          machine.name === "s2"
            ? Promise.reject(new DOMException("The operation was aborted due to timeout", "TimeoutError"))
            : power.status(machine, signal),
      },
      operationLimits: quickLimits,
    },
  });
  for (const number of [1, 2]) await server.add(number, `s${number}`);
  const { status, items } = await server.api("GET", "/power?machines=s[1-2]");
  t.equal(status, 200);
  t.match(items, [
    { machine: "s1", problem: null },
    { machine: "s2", state: "unknown", problem: /no answer within 60 s/ },
  ]);
});
