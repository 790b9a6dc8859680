import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import { boot } from "../support/boot-command.ts";
import { freePort } from "../support/free-port.ts";
import { plain, startServer } from "../support/http-fixture.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { bringUpCluster } from "../support/up-cluster.ts";

const settings = async () => ({
  "https.port": 0,
  "cluster.kubernetesVersion": "1.31.0",
  "cluster.endpoint": `api.lab:${await freePort()}`,
  "cluster.etcdProgram": "/nowhere/etcd",
  "students.quota.pods": 7,
});

t.test(
  "the class's day, with the boot command, the whole server and an API server of the test's own",
  async (t) => {
    const server = await startServer(t, { settings: await settings() });
    const directory = temporaryDirectory(t);
    const kubeconfigs = join(directory, "kubeconfigs");
    const group = join(directory, "group.csv");
    writeFileSync(group, "Name;e-mail\r\nŁucja Żak;l@x\r\n# left\r\nБорис Цой;b@x\r\n");
    const student = (...words: string[]) => boot(["--data", server.dataDir, "student", ...words]);

    await t.test(
      "before there is a cluster they wait, which is no fault; kubeconfigs can't be had yet",
      async (t) => {
        const made = await student("create", `@${group}`, "anna");
        t.match(made, {
          code: 0,
          out:
            "Łucja Żak -> lucja-zak: waiting (there is no cluster yet)\n" +
            "Борис Цой -> boris-tsoi: waiting (there is no cluster yet)\n" +
            "anna: waiting (there is no cluster yet)\n",
          err: /first line of .*group\.csv \(Name\) names the columns/,
        });
        t.match(await student("create", "anna", "--kubeconfigs", kubeconfigs), {
          code: 1,
          out: /anna: was there already, waiting \(there is no cluster yet\); no kubeconfig yet/,
        });
        t.match((await server.api("POST", "/students/anna/tokens", {})).json, { code: "STUDENT_NOT_READY" });
      },
    );

    const { cluster } = await bringUpCluster(t, server);
    const isReady = async () => plain((await server.api("GET", "/students/anna")).json["state"]) === "ready";
    // The server looks at its masters every two seconds.
    while (!(await isReady())) await delay(50);

    await t.test("each gets a namespace and a kubeconfig that nobody else may read", async (t) => {
      const made = await student(
        "create",
        `@${group}`,
        "anna",
        "default",
        "--kubeconfigs",
        kubeconfigs,
        "--hours",
        "0.5",
      );
      t.match(made, {
        code: 1,
        out: /^default: refused: .*namespace of Kubernetes' own; for example student-default$/m,
      });
      t.match(
        made.out,
        /^Łucja Żak -> lucja-zak: was there already, ready, .*lucja-zak\.kubeconfig until 20/m,
      );
      t.same(readdirSync(kubeconfigs).sort(), [
        "anna.kubeconfig",
        "boris-tsoi.kubeconfig",
        "lucja-zak.kubeconfig",
      ]);
      for (const name of readdirSync(kubeconfigs)) {
        t.equal(statSync(join(kubeconfigs, name)).mode & 0o777, 0o600);
        const text = readFileSync(join(kubeconfigs, name), "utf8");
        t.match(text, new RegExp(`"?namespace"?: "${name.replace(".kubeconfig", "")}"`));
        t.match(text, /server: "https:\/\/api\.lab:[0-9]+"/);
      }
      t.equal(statSync(kubeconfigs).mode & 0o777, 0o700);
      t.match(cluster.objects.get(cluster.keyOf("resourcequotas", "student", "anna")), {
        spec: { hard: { pods: "7" } },
      });
    });

    await t.test(
      "a kubeconfig takes the place of an earlier one, and of a link, whatever it is",
      async (t) => {
        const victim = join(directory, "victim");
        writeFileSync(victim, "mine");
        const mine = join(directory, "linked");
        mkdirSync(mine);
        symlinkSync(victim, join(mine, "boris-tsoi.kubeconfig"));
        writeFileSync(join(mine, "anna.kubeconfig"), "old", { mode: 0o644 });
        t.match(await student("token", "anna", "Борис Цой", "--kubeconfigs", mine), {
          code: 0,
          out: /^anna: .*linked\/anna\.kubeconfig until/,
        });
        t.equal(readFileSync(victim, "utf8"), "mine");
        for (const name of ["anna", "boris-tsoi"]) {
          const path = join(mine, `${name}.kubeconfig`);
          t.equal(statSync(path).mode & 0o777, 0o600);
          t.match(readFileSync(path, "utf8"), /token: "eyJ/);
        }
      },
    );

    await t.test("a token is printed, or a kubeconfig of one", async (t) => {
      const { code, out } = await student("token", "anna", "--hours", "4");
      t.equal(code, 0);
      t.match(out, /^anna eyJ\.anna\.[0-9]+-secret until 20[0-9-]+T/);
      t.match((await student("token", "anna", "--kubeconfig")).out, /current-context: "anna@kubernetes"/);
      t.match(await student("token", "anna", "lucja-zak", "--kubeconfig"), {
        code: 2,
        err: /--kubeconfigs DIR/,
      });
      t.match(await student("token", "nobody", "anna"), {
        code: 1,
        out: /nobody: no token\nanna eyJ/,
        err: /STUDENT_NOT_FOUND/,
      });
    });

    await t.test("they are listed and described", async (t) => {
      t.match(await student("get"), {
        code: 0,
        out: /^STUDENT +NAMESPACE +STATE +PODS +CPU +MEMORY +PROBLEM\nanna +anna +ready +1\/7 +50m\/2 +64Mi\/2Gi +-\n/,
      });
      t.match(await student("get", "anna", "nobody", "--output", "json"), {
        code: 1,
        out: /"state": "ready"/,
        err: /nobody: there is no such student/,
      });
      const { out } = await student("describe", "Łucja Żak");
      t.match(
        out,
        /^lucja-zak: ready\nNamespace lucja-zak; asked for as Łucja Żak, created 20.* by local\nObjects: Namespace lucja-zak, ResourceQuota/,
      );
      t.match(out, /^pods +1 +7$/m);
      t.match(out, /^20\S+ +20\S+ +local +good$/m);
    });

    await t.test("scopes: a viewer sees them without tokens, an operator does all", async (t) => {
      const viewer = plain(
        (await server.api("POST", "/tokens", { name: "v", scope: "viewer" })).json["token"],
      );
      const operator = plain(
        (await server.api("POST", "/tokens", { name: "o", scope: "operator" })).json["token"],
      );
      const seen = await server.api("GET", "/students/anna", undefined, viewer);
      t.match(seen.json, { name: "anna", tokens: [{ issuedBy: "local" }] });
      t.notMatch(seen.text, /eyJ/);
      t.equal((await server.api("POST", "/students/anna/tokens", {}, viewer)).status, 403);
      const given = await server.api("POST", "/students/anna/tokens", { expiresInSeconds: 600 }, operator);
      t.match(given, {
        status: 201,
        headers: { "cache-control": "no-store" },
        json: { namespace: "anna", shortened: false },
      });
      t.equal(
        (await server.api("POST", "/students/anna/tokens", { expiresInSeconds: 599 }, operator)).status,
        400,
      );
      t.match((await server.api("POST", "/students", { names: ["anna", ""] })).status, 400);
    });

    await t.test("delete waits until nothing is left, and says what holds a namespace", async (t) => {
      cluster.held.set(
        "anna",
        "Some content in the namespace has finalizers remaining: lab.example/seat in 1 resource instances",
      );
      t.match(await student("delete", "boris-tsoi", "nobody"), {
        code: 1,
        out: /^boris-tsoi: deleted, and nothing is left\nSTUDENT_NOT_FOUND: .*"nobody"/,
      });
      t.equal((await server.api("DELETE", "/students/anna")).status, 202);
      const problem = async () => plain((await server.api("GET", "/students/anna")).json["problem"]);
      while (!(await problem()).includes("lab.example/seat")) await delay(50);
      t.match(await student("delete", "anna", "--timeout", "0"), {
        code: 1,
        out: /^anna: not gone yet: Some content .*lab\.example\/seat in 1 resource instances\n$/,
      });
      cluster.held.clear();
      t.match(await student("delete", `@${group}`), {
        code: 1,
        out: /^lucja-zak: deleted, and nothing is left\nSTUDENT_NOT_FOUND: .*boris-tsoi/,
      });
      while ((await server.api("GET", "/students/anna")).status !== 404) await delay(50);
      for (const name of ["anna", "boris-tsoi", "lucja-zak"]) t.same(cluster.tracesOf(name), []);
      t.same((await server.api("GET", "/students")).items, []);
    });

    await t.test("events say who did it; no token is in them, in the log or in the database", async (t) => {
      const events = await server.api("GET", "/events?limit=1000");
      const types = events.items.map(({ type }) => plain(type)).filter((type) => type.startsWith("student."));
      t.same([...new Set(types)].sort(), ["student.created", "student.deleted", "student.token"]);
      t.match(events.items.filter(({ type }) => plain(type) === "student.token").at(-1), { actor: "o" });
      t.ok(cluster.tokens.length >= 8);
      const places = [
        events.text,
        server.logged.join(),
        ...["rollcall.db", "rollcall.db-wal"].map((file) =>
          readFileSync(join(server.dataDir, file)).toString("latin1"),
        ),
      ];
      for (const token of cluster.tokens) for (const place of places) t.notOk(place.includes(token));
    });
  },
);

t.test("without a cluster in the config there are no students", async (t) => {
  const server = await startServer(t);
  t.match((await server.api("POST", "/students", { names: ["anna"] })).json, { code: "NO_CLUSTER" });
  t.match((await server.api("GET", "/students")).json, { code: "NO_CLUSTER" });
});
