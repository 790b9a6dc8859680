import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import t from "tap";
import { root } from "../../server/platform/checkout.ts";
import { keepScreenshot, seriousProblems, tabTo, tabToNamed } from "../support/browser.ts";
import { dashboardLab } from "../support/dashboard-pages.ts";
import { serverAddress } from "../support/simulation-lab.ts";

const machines = 4;
/** Of all scripts of the pages together, compressed as the server sends them or better. */
const mostScriptBytes = 200_000;

t.test("all scripts of the dashboard together stay below 200 kB compressed", (t) => {
  const assets = join(root, "dist/web/assets");
  t.ok(existsSync(assets), "it is built");
  const sizes = readdirSync(assets)
    .filter((name) => name.endsWith(".js"))
    .map((name) => gzipSync(readFileSync(join(assets, name))).length);
  const whole = sizes.reduce((sum, size) => sum + size, 0);
  t.ok(whole > 0 && whole < mostScriptBytes, `${whole} octets`);
  t.end();
});

t.test("what can be done to machines in the dashboard", async (t) => {
  const { lab, client, home, open, openWith } = await dashboardLab(t, "rca");
  await lab.addMachines(1, machines);
  for (let boot = 0; boot < 2; boot++)
    await lab.simulate("--machines", "2", "--within", "0", "--attempts", "100");
  const roleOf = async (name: string) => (await client.get<{ role: string }>(`/machines/${name}`)).role;
  const dialogOf = (page: Page) => page.locator("dialog[open]");

  await t.test("an older boot of a machine can be looked at", async (t) => {
    const page = await open("machines/v1");
    const choice = page.locator(".boot-choice select");
    await choice.waitFor();
    const { items } = await client.get<{ items: { id: string }[] }>("/machines/v1/boots");
    const oldest = items.at(-1)?.id ?? "";
    t.ok(items.length > 1);
    const asked = ["timeline", "log"].map((part) =>
      page.waitForResponse((answer) => answer.url().endsWith(`/v1/${part}?boot=${oldest}`)),
    );
    await choice.selectOption(oldest);
    for (const answer of await Promise.all(asked)) t.equal(answer.status(), 200, answer.url());
    await page.locator(".timeline li").first().waitFor();
    t.equal(await page.locator(".problem").count(), 0);
    t.same(await seriousProblems(page), []);
    await keepScreenshot(page, "machine-older-boot");
    await page.context().close();
  });

  await t.test("a machine's own page assigns it, with the parameters of a role, by keyboard", async (t) => {
    const page = await open("machines/v1");
    await page.locator(".machine-actions").waitFor();
    await tabToNamed(page, "Assign…");
    await page.keyboard.press("Enter");
    const dialog = dialogOf(page);
    await dialog.locator("option", { hasText: "rescue" }).waitFor({ state: "attached" });
    await tabTo(page, "dialog select");
    await page.keyboard.type("rescue");
    await tabTo(page, "dialog summary");
    await page.keyboard.press("Enter");
    await tabTo(page, "dialog textarea");
    await page.keyboard.type(
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJ5xPYqUHLPzEVKbDLjpLEAMBSTA2NpsmbSVJ7ZvPxg a@b",
    );
    await dialog.locator("table", { hasText: "rescue" }).waitFor();
    t.same(await seriousProblems(page), []);
    await keepScreenshot(page, "assign-parameters");
    await tabToNamed(page, "Assign to 1 machine");
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "detached" });
    t.equal(await roleOf("v1"), "rescue");
    t.match(await client.get("/machines/v1/explain"), { target: { params: { sshKeys: [/^ssh-ed25519/] } } });
    await page.context().close();
  });

  await t.test("a script of one's own is assigned by its address", async (t) => {
    const page = await open("machines/v2");
    await page.getByRole("button", { name: "Assign…" }).click();
    const dialog = dialogOf(page);
    await dialog.getByLabel("an iPXE script of your own").check();
    await dialog.locator("input[type=url]").fill(`http://${serverAddress}/my.ipxe`);
    await dialog.locator("table", { hasText: "my.ipxe" }).waitFor();
    await dialog.locator(".is-main").click();
    await dialog.waitFor({ state: "detached" });
    t.match(await roleOf("v2"), /my\.ipxe/);
    await page.context().close();
  });

  await t.test(
    "an exam locks the room, and an administrator is asked twice before breaking it",
    async (t) => {
      const page = await open("rooms/room");
      await page.getByRole("button", { name: "Begin exam…" }).click();
      const dialog = dialogOf(page);
      await dialog.locator("option", { hasText: "worker" }).waitFor({ state: "attached" });
      await dialog.locator("select").selectOption("worker");
      await dialog.locator("input[type=number]").fill("60");
      t.same(await seriousProblems(page), []);
      await dialog.getByRole("button", { name: "Begin the exam" }).click();
      await page.locator(".exam-banner", { hasText: "Exam: worker" }).waitFor();
      t.equal((await client.get<{ items: unknown[] }>("/exams")).items.length, 1);
      await keepScreenshot(page, "exam");

      await page.locator('[data-name="v3"]').click();
      await page.getByRole("button", { name: "Assign…" }).click();
      await dialog.locator("option", { hasText: "rescue" }).waitFor({ state: "attached" });
      await dialog.locator("select").selectOption("rescue");
      await dialog.locator("table").waitFor();
      await dialog.getByRole("button", { name: "Assign to 1 machine" }).click();
      const again = dialog.getByRole("button", { name: "Do it in spite of the exam" });
      await again.waitFor();
      t.match(await dialog.locator(".problem").innerText(), /EXAM_UNDER_WAY/);
      t.same(await seriousProblems(page), []);
      await keepScreenshot(page, "exam-override");
      const before = await client.get<{ items: unknown[] }>("/assignments/history?machines=v3");
      await again.click();
      await dialog.waitFor({ state: "detached" });
      const after = await client.get<{ items: unknown[] }>("/assignments/history?machines=v3");
      t.equal(after.items.length, before.items.length + 1, "nothing is assigned before the second answer");

      await page.getByRole("button", { name: "End exam…" }).click();
      await dialog.getByRole("button", { name: "End the exam" }).click();
      await page.locator(".exam-banner").waitFor({ state: "detached" });
      t.same((await client.get<{ items: unknown[] }>("/exams")).items, []);
      await page.context().close();
    },
  );

  await t.test("power is asked for and switched after the plan was shown", async (t) => {
    const page = await open("rooms/room");
    const dialog = dialogOf(page);
    await page.locator('[data-name="v4"]').click();
    const choose = async (item: string) => {
      await page.getByRole("button", { name: "Power", exact: true }).click();
      await page.getByRole("menuitem", { name: item }).click();
      await dialog.waitFor();
    };
    await choose("Ask which are on");
    t.match(await dialog.locator("table").innerText(), /v4/);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    for (const [item, title, action] of [
      ["Switch on…", "Switch 1 machine on", "on"],
      ["Switch off…", "Switch 1 machine off", "off"],
      ["Power-cycle…", "Power-cycle 1 machine", "cycle"],
    ] as const) {
      await choose(item);
      t.match(await dialog.locator("table").innerText(), /v4/, `${action}: who`);
      const [order] = await Promise.all([
        page.waitForRequest((asked) => asked.url().endsWith("/api/v1/power") && asked.method() === "POST"),
        dialog.getByRole("button", { name: title }).click(),
      ]);
      t.same(order.postDataJSON(), { machines: "v4", action });
      await dialog.waitFor({ state: "detached" });
      const { items } = await client.get<{ items: { id: string; action: string | null }[] }>(
        "/operations?limit=1",
      );
      t.equal(items[0]?.action, action);
      // Another order for the same machine has to wait for this one.
      await client.post(`/operations/${items[0]?.id}/cancel`, {}).catch(() => {});
      await page
        .locator(`.operation-strip[data-operation="${items[0]?.id}"]:not([data-state=running])`)
        .waitFor();
    }
    await page.context().close();
  });

  await t.test("a machine that waits is accepted under the next name of the series", async (t) => {
    await lab.simulate("--first", "99", "--machines", "1", "--within", "0");
    const page = await open("");
    const name = page.locator(".accept input");
    await name.waitFor();
    t.equal(await name.inputValue(), `v${machines + 1}`);
    await page.locator(".accept button").click();
    await page.locator(".accept").waitFor({ state: "detached" });
    const { phase } = await client.get<{ phase: string }>(`/machines/v${machines + 1}`);
    t.not(phase, "discovered");
    await page.context().close();
  });

  await t.test("each token's pages show what it may see, and no refusals", async (t) => {
    const readers = {
      viewer: { name: "guest", scope: "viewer" },
      "operator of one room": { name: "teacher", scope: "operator", rooms: ["room"] },
    };
    for (const [reader, wanted] of Object.entries(readers)) {
      const isLimited = "rooms" in wanted;
      const { token } = await client.post<{ token: string }>("/tokens", wanted);
      const page = await openWith(token);
      const links = await page.locator(".page-views a").allInnerTexts();
      t.equal(links.includes("Images"), !isLimited, `${reader}: ${links.join(", ")}`);
      t.equal(links.includes("Cluster"), !isLimited, reader);
      for (const view of ["", "rooms/room", "machines/v1", "events", "operations", "cluster", "images"]) {
        await page.goto(home + view);
        await page.locator("main h1").waitFor();
        await page.waitForLoadState("load");
        await page.locator("main .empty").filter({ hasText: "…" }).first().waitFor({ state: "detached" });
        const refused = await page.locator(".problem", { hasText: /SCOPE_MISSING|ROOMS_LIMITED/ }).count();
        t.equal(refused, 0, `${reader}: ${view}`);
      }
      if (isLimited) t.match(await page.locator("main").innerText(), /these rooms alone:\s+room/);
      await page.goto(`${home}machines/v1`);
      await page.locator(".machine-head .phase-mark, .machine-head h1").first().waitFor();
      await page.locator(".machine-part").first().waitFor();
      if (isLimited) await page.locator(".machine-actions").waitFor();
      else t.equal(await page.locator(".machine-actions").count(), 0, "a viewer acts on nothing");
      await page.context().close();
    }
  });

  await t.test("what a student uses of the quota is shown in full", async (t) => {
    const page = await open("");
    await fakeCluster(page);
    await page.goto(`${home}cluster`);
    await page.getByRole("button", { name: "Show anna" }).click();
    const dialog = dialogOf(page);
    await dialog.locator("table").waitFor();
    t.match(await dialog.locator("table").innerText(), /pods\s+3\s+20[\s\S]*requests\.cpu\s+500m\s+2/);
    t.same(await seriousProblems(page), []);
    await keepScreenshot(page, "student-quota");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.context().close();
  });
});

/** As a server with a cluster would answer: this lab has none. */
async function fakeCluster(page: Page): Promise<void> {
  const student = {
    name: "anna",
    namespace: "anna",
    state: "ready",
    problem: null,
    createdAt: null,
    pods: "3/20",
    cpu: "500m/2",
    memory: "1Gi/4Gi",
  };
  const cluster = {
    name: "lab",
    kubernetesVersion: "1.34.0",
    endpoint: "10.77.0.1:6443",
    authorityHash: "sha256:00",
    etcdMode: "stacked",
    state: "ready",
    generation: 1,
    initializedAt: null,
    readyMasters: 1,
    nodes: [],
  };
  const quota = [
    { resource: "requests.cpu", used: "500m", hard: "2" },
    { resource: "pods", used: "3", hard: "20" },
  ];
  await page.route("**/api/v1/cluster", (route) => route.fulfill({ json: cluster }));
  await page.route("**/api/v1/students?*", (route) =>
    route.fulfill({ json: { items: [student], next: null } }),
  );
  await page.route("**/api/v1/students/anna", (route) => route.fulfill({ json: { ...student, quota } }));
}
