import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { Agent, request } from "undici";
import { curl, type Json, loopbackOf, plain, startServer } from "./support/http-fixture.ts";
import { macOf } from "./support/samples.ts";

/** Steps of the newest of some boots. */
const stepsOf = ([boot]: readonly Json[]) => boot?.["steps"] as unknown as Json[];
const ipxe = "text/plain; charset=utf-8";

t.test("scripts", async (t) => {
  const server = await startServer(t, {
    roles: {
      "torn/role.yaml":
        "description: torn\nboot: image\nimage: debian-node\ntemplates:\n  user-data: u.hbs\n",
      "torn/u.hbs":
        "#cloud-config\n{{#if machine.seat}}{{#unless machine.group}}{{sh machine.group}}{{/unless}}{{/if}}\n",
      "lost/role.yaml": "description: its image is not there\nboot: image\nimage: nowhere\n",
    },
  });
  await server.addImage();

  t.test(
    "first contact chains to the machine's own script with all that iPXE knows, and never ends without a next try",
    async (t) => {
      for (const path of ["/boot.ipxe", "/autoexec.ipxe", "//boot.ipxe"]) {
        const { status, headers, text } = await server.ask(path);
        t.equal(status, 200);
        t.match(headers, { "content-type": ipxe, "cache-control": "no-store" });
        t.match(text, /^#!ipxe\n/);
        const chain = `chain --replace --autofree ${server.url}/boot/\${netX/mac:hexhyp}/boot.ipxe?uuid=\${uuid}&serial=\${serial:uristring}`;
        t.ok(text.includes(chain), text);
        t.match(text, /\nsleep \$\{delay\} \|\|\ngoto again\n[\s\S]*\nexit 1\n$/);
      }
    },
  );
  t.test("URLs name the address that the machine reached us by", async (t) => {
    const stdout = await curl(`http://127.0.0.9:${server.port}/boot.ipxe`);
    t.ok(stdout.includes(`chain --replace --autofree http://127.0.0.9:${server.port}/boot/`));
  });
  t.test(
    "a machine that nobody knows waits; its MAC is read in both forms; what iPXE tells is noted",
    async (t) => {
      const query =
        "?uuid=4c4c4544-0035-3510-8052-b4c04f4a3732&serial=A%20%22b%22&manufacturer=Dell%20Inc.&product=%3Cb%3E&arch=x86_64&platform=efi&ip=1.2.3.4";
      const { text } = await server.script(1, { query });
      t.match(text, /^#!ipxe\n[\s\S]*\n:wait\n[\s\S]*sleep [4-6] \|\|\n/);
      const colons = await server.ask("/boot/52:54:00:00:00:01/boot.ipxe", { from: 1 });
      t.equal(colons.text, text);
      t.match((await server.api("GET", `/machines/${macOf(1)}`)).json, {
        phase: "discovered",
        uuid: "4c4c4544-0035-3510-8052-b4c04f4a3732",
        serial: 'A "b"',
        product: "<b>",
        arch: "x86_64",
        role: "discover",
      });
    },
  );
  t.test("an assigned one gets kernel, initrd and a claim; each asset of the script is there", async (t) => {
    await server.add(2, "s2");
    await server.assign("s2", "worker");
    const { text, headers } = await server.script(2);
    t.equal(headers["cache-control"], "no-store", "a script with a claim in it is kept by nobody");
    for (const command of ["kernel", "initrd --name initrd.img"]) {
      const url =
        new RegExp(`\n${command} ${server.url.replaceAll(".", "\\.")}(/assets/\\S+)`).exec(text)?.[1] ?? "";
      t.equal((await server.ask(url)).status, 200, url);
    }
    t.match(text, /ds=nocloud-net;s=http:\/\/127\.0\.0\.1:[0-9]+\/boot\/claims\/[a-z2-7]{26}\/cloud-init\/ /);
    t.ok(
      text.split("\n").every((line) => line.length < 1000),
      "iPXE's lines are short",
    );
    t.notMatch(text, /[^\n\x20-\x7e]/, "plain ASCII with LF");
  });
  t.test("a fault is 200 with a script: code, advice, a wait and another try", async (t) => {
    await server.add(3, "s3");
    await server.add(4, "s4", { seat: "A4" });
    await server.add(5, "s5");
    const assign = (id: string, role: string) =>
      server.store.assignments.saveAll([
        {
          id: `as_${role}`,
          subject: { kind: "machine", machineId: id },
          target: { kind: "role", role, params: {} },
          mode: "always",
          assignedAt: Date.now(),
          assignedBy: "test",
        },
      ]);
    // The API refuses what can't be rendered; these became wrong after they were assigned.
    await assign(server.store.machines.get("s3").id, "gone");
    await assign(server.store.machines.get("s4").id, "torn");
    await assign(server.store.machines.get("s5").id, "lost");
    const faults: [string, string, number?][] = [
      [`/boot/${macOf(3)}/boot.ipxe`, "ROLE_NOT_FOUND", 3],
      [`/boot/${macOf(4)}/boot.ipxe`, "TEMPLATE_FAILED", 4],
      [`/boot/${macOf(5)}/boot.ipxe`, "IMAGE_NOT_FOUND", 5],
      ["/boot/not-a-mac/boot.ipxe", "INVALID_MAC"],
      ["/boot/ff:ff:ff:ff:ff:ff/boot.ipxe", "INVALID_MAC"],
      ["/boot/$%7Bnet0%2Fmac%7D/boot.ipxe", "INVALID_MAC"],
      ["/boot/%0aecho%20pwned%0a/boot.ipxe", "INVALID_MAC"],
      [`/boot/${"x".repeat(290)}/boot.ipxe`, "INVALID_MAC"],
    ];
    for (const [path, code, from] of faults) {
      const { status, headers, text } = await server.ask(path, from === undefined ? {} : { from });
      t.equal(status, 200, path);
      t.match(headers, { "content-type": ipxe, "cache-control": "no-store" });
      t.match(text, new RegExp(`^#!ipxe\\n[\\s\\S]*\\necho Rollcall: ${code}\\n`), path);
      t.match(text, /\necho What to do: .{10}/);
      t.match(
        text,
        /\nsleep \d+ \|\|\nchain --replace --autofree http:\/\/\S+\/boot\.ipxe \|\| goto failed\n/,
      );
      t.notMatch(text, /\npwned|^echo pwned/m);
    }
    t.equal((await server.api("GET", "/events?type=script.failed")).items.length, 4, "one each");
  });
  t.test("a role that is mended is served at the next try, with no restart", async (t) => {
    await server.api("PATCH", "/machines/s4", { seat: null });
    t.match((await server.script(4)).text, /into the role torn/);
  });
  t.test("the same failure asked for again and again is one step of the boot", async (t) => {
    for (let poll = 0; poll < 5; poll++) await server.script(5);
    const { items } = await server.api("GET", "/machines/s5/boots");
    t.same(
      stepsOf(items).map((step) => [step["step"], step["detail"]]),
      [["script", { code: "IMAGE_NOT_FOUND" }]],
    );
  });
  t.test("an address that belongs to another machine gets no claim, whatever headers say", async (t) => {
    const headers = {
      "x-forwarded-for": loopbackOf(2),
      forwarded: `for=${loopbackOf(2)}`,
      "x-real-ip": loopbackOf(2),
    };
    const { status, text } = await server.ask(`/boot/${macOf(2)}/boot.ipxe`, { from: 3, headers });
    t.equal(status, 200);
    t.match(text, /MACHINE_MISMATCH/);
    t.match((await server.api("GET", "/events?type=mac.contradicted")).items, [
      { level: "alarm", machine: "s2" },
    ]);
  });
});

t.test("configs and callbacks", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  for (const number of [1, 2, 3, 4]) await server.add(number, `s${number}`);
  await server.assign("all", "worker");

  t.test("cloud-init finds all four documents with the machine's claim, and nobody keeps them", async (t) => {
    const claim = await server.claim(1);
    const documents = {
      "user-data": /^#cloud-config\n/,
      "meta-data": /^instance-id: "b_[a-z0-9]+"\nlocal-hostname: "s1"\n/,
      "vendor-data": new RegExp(`/callback/${claim}/joined`),
      "network-config": /52:54:00:00:00:01/,
    };
    for (const [name, content] of Object.entries(documents)) {
      const { status, headers, text } = await server.ask(`/boot/claims/${claim}/cloud-init/${name}`, {
        from: 1,
      });
      t.equal(status, 200, name);
      t.match(text, content);
      t.equal(headers["cache-control"], "no-store");
    }
    const ignition = await server.ask(`/boot/claims/${claim}/ignition.json`, { from: 1 });
    t.equal(ignition.status, 204, "Ignition takes 204 as an empty config");
    t.match((await server.api("GET", "/machines/s1")).json, { phase: "configuring" });
  });
  t.test("every refusal looks the same: status, headers and body", async (t) => {
    const claim = await server.claim(2);
    await server.ask(`/callback/${claim}/joined`, { method: "POST", from: 2 });
    const live = await server.claim(3);
    const path = (claim: string) => `/boot/claims/${claim}/cloud-init/user-data`;
    const answers = [
      await server.ask(path("a".repeat(26)), { from: 2 }),
      await server.ask(path(claim), { from: 2 }),
      await server.ask(path(live), { from: 2 }),
      await server.ask(path(live), { from: 2, headers: { "x-forwarded-for": loopbackOf(3) } }),
      await server.ask(path(live)),
      await server.ask(`${path(live)}?mac=${macOf(3)}`, { from: 4 }),
      await server.ask(path(live.toUpperCase()), { from: 3 }),
      await server.ask(path(`${live}a`), { from: 3 }),
    ];
    const seen = answers.map(({ status, headers, text }) => {
      const { date, ...rest } = headers;
      return JSON.stringify({ status, text, rest, date: typeof date });
    });
    t.equal(new Set(seen).size, 1, seen.join("\n"));
    t.match(answers[0], { status: 403, json: { code: "CLAIM_REFUSED" } });
    const alarms = (await server.api("GET", "/events?type=claim.refused")).items;
    const reasons = alarms.map((alarm) => plain(alarm["data"]?.["reason"]));
    t.same([...new Set(reasons)].sort(), ["spent", "unknown", "wrong-address"], "inside the alarms tell why");
    t.equal(
      (await server.ask(path(live), { from: 3 })).status,
      200,
      "the machine itself is not harmed by it",
    );
    t.notOk(
      server.logged.some((line) => line.includes(live)),
      "no log line has the claim",
    );
  });
  t.test("reports come as a form (busybox wget), as JSON and with neither", async (t) => {
    const claim = await server.claim(1);
    const phase = (body: unknown, headers = {}) =>
      server.ask(`/callback/${claim}/phase`, { method: "POST", from: 1, body, headers });
    const form = { "content-type": "application/x-www-form-urlencoded" };
    t.equal((await phase("phase=booting&step=rootfs&done=100&total=400", form)).status, 204);
    t.match((await server.api("GET", "/machines/s1")).json["progress"], {
      step: "rootfs",
      doneBytes: 100,
      totalBytes: 400,
    });
    t.equal((await phase({ step: "verify", done: 400, total: 400 })).status, 204);
    t.match((await server.api("GET", "/machines/s1")).json, {
      phase: "booting",
      progress: { step: "verify" },
    });
    t.equal((await phase(undefined)).status, 204);
    for (const body of [
      "step=rootfs&done=-1&total=1e9",
      "__proto__=1&done=99999999999999999999",
      "%ff%00&=&&",
    ])
      t.equal((await phase(body, form)).status, 204, body);
    for (const body of [[], null, 7, { step: { deep: 1 }, done: [] }])
      t.equal((await phase(body)).status, 204, JSON.stringify(body));
    const { items } = await server.api("GET", "/machines/s1/boots?limit=1");
    const steps = stepsOf(items).map((step) => plain(step["step"]));
    t.same(
      steps.filter((step) => step === "rootfs"),
      ["rootfs"],
      "told many times, noted once",
    );
  });
  t.test("a fault is on the timeline and in the event log; hostile text is text", async (t) => {
    const claim = await server.claim(3);
    const body = { code: "NO SPACE; rm -rf", message: `disk\nfull \u001b[31m ${"x".repeat(600)}` };
    t.equal((await server.ask(`/callback/${claim}/failed`, { method: "POST", from: 3, body })).status, 204);
    t.match((await server.api("GET", "/machines/s3")).json, {
      phase: "failed",
      boot: { verdict: /^NO_SPACE__/ },
    });
    const [event] = (await server.api("GET", "/events?type=machine.failed")).items;
    t.match(event, { level: "warning", machine: "s3" });
    t.notMatch(plain(event?.["message"]), /[\n\u001b]/);
    t.ok(plain(event?.["message"]).length < 600);
  });
  t.test("the log is kept by its end, as text, as a form post of busybox and as octets", async (t) => {
    const claim = await server.claim(3);
    const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}`).join("\n");
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]) {
      const headers = { "content-type": type };
      t.equal(
        (await server.ask(`/callback/${claim}/log`, { method: "POST", from: 3, body: lines, headers }))
          .status,
        204,
        type,
      );
      const [event] = (await server.api("GET", "/events?type=machine.log&limit=1")).items;
      t.match(event?.["data"]?.["tail"], /\nline 4998\nline 4999$/, type);
      t.ok(plain(event?.["data"]?.["tail"]).length <= 8192);
    }
  });
  t.test("the callback makes it ready, as cloud-init's phone_home posts it and without a body", async (t) => {
    const claim = await server.claim(4);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const body = "instance_id=b_1&hostname=s4&pub_key_ed25519=ssh-ed25519+AAAA";
    t.match(await server.ask(`/callback/${claim}/joined`, { method: "POST", from: 4, body, headers }), {
      status: 200,
      json: { phase: "ready" },
    });
    t.equal((await server.ask(`/callback/${claim}/joined`, { method: "POST", from: 4 })).status, 200);
    t.match((await server.api("GET", "/machines/s4")).json, { phase: "ready", boot: { outcome: "ready" } });
  });
  t.test("a body that is too large is refused with 413 before anything is done with it", async (t) => {
    const claim = await server.claim(1);
    const headers = { "content-type": "text/plain" };
    for (const [what, size] of [
      ["phase", 17_000],
      ["joined", 17_000],
      ["failed", 17_000],
      ["log", 300_000],
    ] as const) {
      const { status, json } = await server.ask(`/callback/${claim}/${what}`, {
        method: "POST",
        from: 1,
        headers,
        body: "x".repeat(size),
      });
      t.match([status, json], [413, { status: 413, code: "INVALID_REQUEST" }], what);
    }
    t.match((await server.api("GET", "/machines/s1")).json["phase"], /netbooting|booting/);
  });
});

t.test("the server as a whole", async (t) => {
  const server = await startServer(t);
  t.test("healthz and readyz need no token", async (t) => {
    t.match(await server.ask("/healthz"), { status: 200, json: { status: "up" } });
    t.match(await server.ask("/readyz"), { status: 200, json: { status: "ready" } });
  });
  t.test("every fault is a problem document with a stable code", async (t) => {
    const token = server.adminToken;
    const json = { "content-type": "application/json" };
    const faults: [string, Parameters<typeof server.ask>[1], number, string][] = [
      ["/nope", {}, 404, "NOT_FOUND"],
      ["/api/v1/nope", { token }, 404, "NOT_FOUND"],
      ["/assets/%zz/x", {}, 400, "INVALID_REQUEST"],
      ["/api/v1/machines", { method: "POST", token, body: "{", headers: json }, 400, "INVALID_REQUEST"],
      ["/api/v1/machines", { method: "POST", token, body: "", headers: json }, 400, "INVALID_REQUEST"],
      [
        "/api/v1/machines",
        { method: "POST", token, body: '{"__proto__":1}', headers: json },
        400,
        "INVALID_REQUEST",
      ],
      [
        "/api/v1/machines",
        { method: "POST", token, body: "<x/>", headers: { "content-type": "text/xml" } },
        415,
        "INVALID_REQUEST",
      ],
      [
        "/api/v1/machines",
        { method: "POST", token, body: `{"name":"${"x".repeat(300_000)}"}`, headers: json },
        413,
        "INVALID_REQUEST",
      ],
      ["/boot.ipxe", { method: "POST" }, 404, "NOT_FOUND"],
    ];
    for (const [path, options, status, code] of faults) {
      const answer = await server.ask(path, options);
      t.equal(answer.status, status, `${options?.method ?? "GET"} ${path}: ${answer.text}`);
      t.match(answer.headers["content-type"], /^application\/problem\+json/, path);
      t.match(answer.json, {
        code,
        status,
        type: `urn:rollcall:error:${code}`,
        title: String,
        detail: /./,
        advice: /./,
      });
      t.notMatch(answer.text, /node_modules|at .*\.ts:|SQLITE/);
    }
  });
  t.test("no machine path is ever redirected, also with double slashes and dots", async (t) => {
    for (const path of [
      "/boot.ipxe/",
      "//boot.ipxe",
      "/boot/../boot.ipxe",
      "/assets/",
      "/assets",
      "/callback/x/joined/",
      "/boot",
    ]) {
      const stdout = await curl(
        "-o",
        "/dev/null",
        "--path-as-is",
        "-w",
        "%{http_code}",
        `${server.url}${path}`,
      );
      t.match(stdout, /^(200|404)$/, path);
    }
  });
  t.test("a request that smuggles or floods headers is cut off", async (t) => {
    const raw = (text: string) =>
      new Promise<string>((resolve, reject) => {
        let answer = "";
        const socket = connect(server.port, "127.0.0.1", () => socket.write(text));
        socket.setEncoding("latin1").on("data", (chunk: string) => (answer += chunk));
        socket.on("end", () => resolve(answer)).on("error", reject);
      });
    const both =
      "POST /callback/x/phase HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    t.match(await raw(both), /^HTTP\/1\.1 400 /);
    t.match(
      await raw(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`),
      /^HTTP\/1\.1 431 /,
    );
    t.match(await raw("GET / HTTP/1.1\r\n\r\n"), /^HTTP\/1\.1 400 /);
    t.equal((await server.ask("/healthz")).status, 200);
  });
  t.test("a stop ends the event streams in good order, on the port and on the control socket", async (t) => {
    const headers = { accept: "text/event-stream", authorization: `Bearer ${server.adminToken}` };
    const dispatcher = new Agent({ connect: { socketPath: join(server.dataDir, "control.sock") } });
    t.teardown(() => dispatcher.close());
    const streams = [
      await request(`${server.url}/api/v1/events`, { headers }),
      await request("http://localhost/api/v1/events", { headers: { accept: headers.accept }, dispatcher }),
    ];
    const told = streams.map(({ body }) => body.text());
    await server.stop();
    for (const text of await Promise.all(told)) t.match(text, /^id: 1\nevent: server\.started\n/);
    await t.rejects(server.ask("/healthz"));
  });
});
