import type { Page } from "playwright-core";
import t from "tap";
import { phases } from "../../server/domain/machine.ts";
import { keepScreenshot, seriousProblems, tabTo, tabToNamed } from "../support/browser.ts";
import { dashboardLab } from "../support/dashboard-pages.ts";

const machines = 30;
const plan = ["A", "B", "C", "D", "E"].map((row) =>
  [1, 2, 3, null, 4, 5, 6].map((column) => (column === null ? null : `${row}${column}`)),
);
const seats = plan.flat().filter((seat) => seat !== null);

t.test("the dashboard shows a room of 30 machines", async (t) => {
  const { lab, browser, client, home, open } = await dashboardLab(t, "rcd");
  await lab.addMachines(1, machines);
  await client.patch("/groups/room", { description: "Room 225, first floor", plan: { seats: plan } });
  for (const [index, seat] of seats.entries()) await client.patch(`/machines/v${index + 1}`, { seat });

  const seatOf = (page: Page, name: string) => page.locator(`[data-name="${name}"]`);

  await t.test("a link signs in by itself, and the address has forgotten it", async (t) => {
    const page = await browser.open();
    await page.goto(home);
    await page.locator("input[name=token]").waitFor();
    t.same(await seriousProblems(page), []);
    await keepScreenshot(page, "sign-in");
    const { url } = await client.post<{ url: string }>("/session/links", {});
    await page.goto(`${home}sign-in${new URL(url).hash}`);
    await page.locator(".room-card").waitFor();
    t.equal(page.url(), home);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.locator("input[name=token]").waitFor();
    await page.context().close();
  });

  await t.test("a token of a viewer sees the room and no action", async (t) => {
    const { token } = await client.post<{ token: string }>("/tokens", { name: "guest", scope: "viewer" });
    const page = await browser.open();
    await page.goto(`${home}rooms/room`);
    await page.locator("input[name=token]").fill(token);
    await page.keyboard.press("Enter");
    await seatOf(page, "v1").click();
    await page.locator(".room-toolbar").waitFor();
    const names = await page.locator(".room-toolbar .button, .room-head-actions .button").allInnerTexts();
    t.same(
      names.map((name) => name.trim()),
      ["Select all", "Details", "Clear"],
    );
    await page.context().close();
  });

  await t.test("each seat goes through its phases while the room boots", async (t) => {
    const page = await open("rooms/room", { width: 1920, height: 1080 });
    await seatOf(page, "v30").waitFor();
    t.equal(await page.locator(".plan-row > .seat[data-machine]").count(), machines, "all sit on the plan");
    await page.evaluate(watchPhases);
    const { report } = await lab.simulate(
      "--machines",
      String(machines),
      "--within",
      "4",
      "--attempts",
      "100",
    );
    t.same(report.arrived, { joined: machines });
    await page
      .locator('.seat[data-phase="ready"]')
      .nth(machines - 1)
      .waitFor();
    const seen = await page.evaluate<Record<string, string[]>>("window.seenPhases");
    const order = (phase: string) => phases.findIndex((one) => one === phase);
    for (const [name, own] of Object.entries(seen)) {
      t.equal(own.at(-1), "ready", `${name}: ${own.join(", ")}`);
      t.same(
        own,
        own.toSorted((one, other) => order(one) - order(other)),
        `${name}: in their order`,
      );
    }
    // What lasts less than the time between two messages is told by none: native iPXE loads our small image in less.
    t.ok(
      Object.values(seen).every((own) => own.length > 1),
      "each was seen to change",
    );
    const all = new Set(Object.values(seen).flat());
    // What is shorter than the time between two messages is not told; some of it is not.
    t.ok(
      ["netbooting", "booting", "configuring"].some((phase) => all.has(phase)),
      [...all].join(", "),
    );
    await keepScreenshot(page, "room-ready");
    await page.context().close();
  });

  await t.test("assign by keyboard only, and another browser sees it", async (t) => {
    const page = await open("rooms/room");
    const other = await open("rooms/room", { locale: "pl-PL" });
    await seatOf(page, "v1").waitFor();
    await tabTo(page, "[data-machine]");
    for (const key of ["Home", "ArrowDown", "Space", "Shift+ArrowRight"]) await page.keyboard.press(key);
    t.same(await selectedNames(page), ["v7", "v8"]);
    await tabTo(page, ".room-toolbar", "Shift+Tab");
    await tabToNamed(page, "Assign…", "Shift+Tab");
    await page.keyboard.press("Enter");
    const dialog = page.locator("dialog[open]");
    await dialog.locator("option", { hasText: "rescue" }).waitFor({ state: "attached" });
    await tabTo(page, "dialog select");
    await page.keyboard.type("rescue");
    await dialog.locator("table").waitFor();
    t.match(await dialog.locator("table").innerText(), /v7\s+worker\s+rescue/, "the plan is shown first");
    await keepScreenshot(page, "assign");
    const confirm = dialog.getByRole("button", { name: "Assign to 2 machines" });
    t.equal((await client.get<{ role: string }>("/machines/v7")).role, "worker", "and nothing is done yet");
    await tabTo(page, "dialog .is-main");
    t.ok(await confirm.isEnabled());
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "detached" });
    for (const watched of [page, other])
      await seatOf(watched, "v8").locator(".seat-role", { hasText: "rescue" }).waitFor();
    t.match(await seatOf(other, "v8").innerText(), /gotowy/, "each in its reader's language");
    await other.context().close();

    await t.test("and so is a reset, which can be cancelled", async (t) => {
      await tabTo(page, "[data-machine]");
      await tabToNamed(page, "Reset…", "Shift+Tab");
      await page.keyboard.press("Enter");
      await dialog.locator("table").waitFor();
      t.match(await dialog.innerText(), /drain → revoke → power → boot → ready → proof/);
      await keepScreenshot(page, "reset");
      await tabTo(page, "dialog .is-grave");
      await page.keyboard.press("Enter");
      await dialog.waitFor({ state: "detached" });
      const strip = page.locator(".operation-strip").first();
      await strip.waitFor();
      const cancel = page.getByRole("button", { name: "Cancel: Reset" });
      if (await cancel.isVisible()) {
        // It may end before the keys get there.
        await tabToNamed(page, "Cancel: Reset", "Shift+Tab").then(
          () => page.keyboard.press("Enter"),
          () => t.comment("the reset ended before it could be cancelled"),
        );
      }
      await page.locator(".operation-strip:not([data-state=running])").waitFor();
      const { items } = await client.get<{ items: { kind: string }[] }>("/operations");
      t.ok(items.some(({ kind }) => kind === "reset"));
      await page.context().close();
    });
  });

  await t.test("what a hostile machine writes is text that does no harm", async (t) => {
    const page = await open("");
    const dialogs: string[] = [];
    page.on("dialog", (dialog) => {
      dialogs.push(dialog.message());
      void dialog.dismiss();
    });
    const outside: string[] = [];
    page.on("request", (request) => {
      if (!request.url().startsWith(new URL(home).origin)) outside.push(request.url());
    });
    await page.route("**/api/v1/live", (route) =>
      route.fulfill({ contentType: "text/event-stream", body: hostileSnapshot() }),
    );
    await page.goto(`${home}rooms/evil`);
    await page
      .locator(".seat[data-machine]")
      .nth(hostile.length - 1)
      .waitFor();
    t.same(dialogs, []);
    t.same(outside, []);
    t.equal(await page.locator("main script, main img, main iframe, main a[href^=javascript]").count(), 0);
    const text = await page.locator("main").innerText();
    t.notMatch(text, /[\u202a-\u202e\u2066-\u2069]/, "nothing turns the text around");
    t.match(text, /\\u\{202e\}/, "and what would is told by its code");
    const heights = await page.locator(".seat").evaluateAll((all) => all.map((seat) => seat.clientHeight));
    t.ok(Math.max(...heights) < 400, `seats keep their size: ${Math.max(...heights)}`);
    t.equal(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
    await keepScreenshot(page, "hostile");
    await page.context().close();
  });

  for (const scheme of ["light", "dark"] as const)
    for (const width of [375, 1920])
      await t.test(`axe finds nothing serious, ${scheme}, ${width} px`, async (t) => {
        const page = await open("", { scheme, width, height: width === 375 ? 812 : 1080 });
        await page.locator(".room-card").waitFor();
        t.same(await seriousProblems(page), []);
        await keepScreenshot(page, `rooms-${scheme}-${width}`);
        await page.goto(`${home}rooms/room`);
        await seatOf(page, "v9").click();
        t.same(await seriousProblems(page), []);
        t.equal(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
        await keepScreenshot(page, `room-${scheme}-${width}`);
        await page.getByRole("button", { name: "Assign…" }).click();
        await page.locator("dialog option", { hasText: "worker" }).waitFor({ state: "attached" });
        await page.locator("dialog select").selectOption("rescue");
        await page.locator("dialog table").waitFor();
        t.same(await seriousProblems(page), []);
        const paint = await page.evaluate<number>(
          "performance.getEntriesByName('first-contentful-paint')[0]?.startTime",
        );
        t.comment(`first paint after ${Math.round(paint)} ms`);
        await page.context().close();
      });
});

/** Notes each change of each seat's phase, in the page. */
const watchPhases = `
  window.seenPhases = {};
  const note = () => {
    for (const { dataset } of document.querySelectorAll(".seat[data-machine]")) {
      const own = (window.seenPhases[dataset.name] ??= []);
      if (own.at(-1) !== dataset.phase) own.push(dataset.phase);
    }
  };
  note();
  new MutationObserver(note).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-phase"], childList: true });
`;

const selectedNames = (page: Page) =>
  page
    .locator("[aria-selected=true]")
    .evaluateAll((all) => all.map((seat) => seat.getAttribute("data-name")));

const hostile = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "javascript:alert(1)",
  '"><iframe src=https://example.com>',
  "abc\u202egnp.exe",
  "\u2067\u202dx\u0000\u0007\u001b[31m",
  "a\u0300".repeat(200),
  "x".repeat(10_000),
  "{{constructor.constructor('alert(1)')()}}",
];

/** As if the server itself had been talked into it. */
function hostileSnapshot(): string {
  const snapshot = {
    at: new Date().toISOString(),
    groups: [
      {
        name: "evil",
        description: hostile[0],
        role: hostile[1],
        exam: null,
        plan: { seats: [["A1", "A2"]] },
      },
    ],
    machines: hostile.map((text, index) => ({
      id: `m${index}`,
      name: text,
      group: "evil",
      seat: index < 2 ? `A${index + 1}` : text,
      phase: "failed",
      role: text,
      roleSource: "group",
      runs: text,
      address: null,
      currentAddress: null,
      lastSeenAt: null,
      boot: null,
      cluster: null,
      problem: text,
      progress: { file: text, bytes: 1, total: 2 },
    })),
    operations: [],
  };
  return `event: snapshot\ndata: ${JSON.stringify(snapshot)}\n\n`;
}
