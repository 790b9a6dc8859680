import type { Page } from "playwright-core";
import t from "tap";
import { keepScreenshot, seriousProblems } from "../support/browser.ts";
import { dashboardLab } from "../support/dashboard-pages.ts";

const machines = 6;

t.test("the dashboard shows a machine, events, operations, images and the cluster", async (t) => {
  const { lab, client, home, open } = await dashboardLab(t, "rcv");
  await lab.addMachines(1, machines);
  const { report } = await lab.simulate("--machines", String(machines), "--within", "1", "--attempts", "100");
  t.same(report.arrived, { joined: machines });

  await t.test("a machine's boot stands part by part beside the room's", async (t) => {
    const page = await open("machines/v1");
    await page.locator(".timeline li").first().waitFor();
    const names = await page.locator(".timeline-name").allInnerTexts();
    t.ok(
      ["DHCP", "Script", "Configuration"].every((name) => names.includes(name)),
      names.join(),
    );
    t.match(await page.locator(".timeline").innerText(), /room: /);
    t.match(await page.locator("main").innerText(), new RegExp(`median of ${machines - 1} boots`));
    t.match(await page.locator(".diagnoses").innerText(), /Fine:/);
    await page.getByRole("button", { name: "ipxe" }).click();
    await page.locator(".foreign-lines", { hasText: "#!ipxe" }).waitFor();
    await keepScreenshot(page, "machine");
    await page.context().close();
  });

  await t.test("what happens is seen at once, on the machine's page and in the log of all", async (t) => {
    const machine = await open("machines/v2");
    const log = await open("events");
    await log.getByRole("row").nth(1).waitFor();
    await client.patch("/machines/v2", { labels: { seen: "now" } });
    for (const page of [machine, log])
      await page
        .getByRole("row", { name: /machine\.edited/ })
        .first()
        .waitFor();
    await log.locator(".event-choice select").nth(1).selectOption("v3");
    await log.getByRole("row", { name: /machine\.edited/ }).waitFor({ state: "detached" });
    t.notMatch(await log.locator("table").innerText(), /v2/);
    for (const page of [machine, log]) await page.context().close();
  });

  await t.test("an operation is followed step by step, and cancelled", async (t) => {
    const page = await open("operations");
    await page.getByText("Nothing was done to machines yet.").waitFor();
    await client.post("/resets", { machines: "v1,v2" });
    await page.getByRole("link", { name: "Reset" }).click();
    await page.getByRole("row", { name: /v2/ }).waitFor();
    t.match(
      await page.locator("thead").innerText(),
      /drain[\s\S]*revoke[\s\S]*power[\s\S]*boot[\s\S]*ready[\s\S]*proof/,
    );
    const cancel = page.getByRole("button", { name: "Cancel the rest" });
    const ended = page.locator(".operation-head .step-mark:not(.is-running)");
    await Promise.race([cancel.click(), ended.waitFor()]);
    await ended.waitFor();
    await keepScreenshot(page, "operation");
    await page.context().close();
  });

  await t.test("a log of a machine with hostile lines is text", async (t) => {
    const page = await open("");
    await page.route("**/api/v1/machines/v1/log", (route) =>
      route.fulfill({
        json: {
          machine: "v1",
          boot: "b",
          items: [
            {
              at: new Date().toISOString(),
              message: "m",
              text: "<script>alert(1)</script>\n\u202egnp.exe\u001b[2J",
            },
            { at: new Date().toISOString(), message: "x".repeat(100_000), text: null },
          ],
        },
      }),
    );
    await page.goto(`${home}machines/v1`);
    const lines = page.locator(".foreign-lines");
    await lines.waitFor();
    t.match(await lines.innerText(), /<script>alert\(1\)<\/script>[\s\S]*\\u\{202e\}gnp\.exe\\u\{1b\}/);
    t.equal(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
    await page.context().close();
  });

  await t.test("what is not there is no such page, and says so", async (t) => {
    const page = await open("machines/nobody");
    await page.locator(".problem").first().waitFor();
    t.match(await page.locator(".problem").first().innerText(), /nobody/);
    await page.context().close();
  });

  const views = ["machines/v1", "events", "operations", "images", "cluster"];
  for (const scheme of ["light", "dark"] as const)
    for (const width of [375, 1920])
      await t.test(`axe finds nothing serious in any view, ${scheme}, ${width} px`, async (t) => {
        const page = await open("", { scheme, width, height: width === 375 ? 812 : 1080 });
        for (const view of views) {
          await page.goto(home + view);
          await settled(page);
          t.same(await seriousProblems(page), [], view);
          t.equal(
            await page.evaluate("document.documentElement.scrollWidth <= innerWidth"),
            true,
            `${view} fits`,
          );
          await keepScreenshot(page, `${view.replace("/", "-")}-${scheme}-${width}`);
        }
        await page.context().close();
      });

  for (const [locale, words] of [
    ["pl-PL", /Zdarzenia/],
    ["ru-RU", /События/],
  ] as const)
    await t.test(`a reader of ${locale} reads it in that language`, async (t) => {
      const page = await open("events", { locale });
      t.match(await page.locator("h1").innerText(), words);
      await page.goto(`${home}machines/v1`);
      await settled(page);
      await keepScreenshot(page, `machine-${locale}`);
      await page.context().close();
    });
});

/** Everything that a view asks for has come. */
async function settled(page: Page): Promise<void> {
  await page.locator("main h1").waitFor();
  await page.locator("main .empty").filter({ hasText: "…" }).first().waitFor({ state: "detached" });
}
