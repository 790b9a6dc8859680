import { createPublicKey, X509Certificate } from "node:crypto";
import { readFileSync, utimesSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { clientProfile } from "../../server/kubeadm/certificate-layout.ts";
import { dayMs, issueCertificate } from "../../server/pki/certificates.ts";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { boot as bootCommand } from "../support/boot-command.ts";
import { freePort } from "../support/free-port.ts";
import { curl, loopbackOf, plain, startServer } from "../support/http-fixture.ts";
import { macOf, temporaryDirectory } from "../support/samples.ts";

async function startWithCluster(
  t: Parameters<typeof startServer>[0],
  settings: Readonly<Record<string, unknown>> = {},
) {
  const server = await startServer(t, {
    settings: {
      ...settings,
      "https.port": 0,
      "cluster.kubernetesVersion": "1.31.0",
      "cluster.endpoint": `api.lab:${await freePort()}`,
    },
    roles: {
      "w/role.yaml":
        "description: a node\nboot: image\nimage: debian-node\nnode: worker\ntemplates: { user-data: u.hbs }\n",
      "w/u.hbs": "#cloud-config\n{}\n",
      "m/role.yaml":
        "description: a master\nboot: image\nimage: debian-node\nnode: master\ntemplates: { user-data: u.hbs }\n",
      "m/u.hbs": "#cloud-config\n{}\n",
    },
  });
  return server;
}

t.test("an agent of curl and openssl claims its boot and asks what to do", async (t) => {
  const server = await startWithCluster(t);
  const directory = temporaryDirectory(t);
  const file = (name: string) => join(directory, name);
  await server.addImage();
  for (const [number, name, role] of [
    [1, "w1", "w"],
    [2, "m1", "m"],
  ] as const) {
    await server.add(number, name);
    await server.assign(name, role);
  }
  const https = `https://127.0.0.1:${server.app.addresses.tlsPort}`;
  /** Boots a machine as far as its agent, which has a key and a claim from then on. */
  async function boot(number: number, name: string) {
    const { text } = await server.ask(`/boot/${macOf(number)}/boot.ipxe`, { from: number });
    const callback = /\/callback\/[a-z0-9]+/.exec(text)?.[0] ?? "";
    const cpio = await server.ask(/\/boot\/claims\/[a-z0-9]+\/node\.cpio/.exec(text)?.[0] ?? "", {
      from: number,
    });
    const authority =
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/.exec(cpio.text)?.[0] ?? "";
    writeFileSync(file("authority.pem"), authority);
    execFileSync(
      "openssl",
      [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        file(`${name}.key`),
        "-subj",
        "/CN=agent",
        "-out",
        file(`${name}.csr`),
      ],
      { stdio: "ignore" },
    );
    return callback;
  }
  const fields = (name: string, number: number) => [
    "--data-urlencode",
    `csr@${file(`${name}.csr`)}`,
    ...Object.entries({
      bootId: `0000000${number}-0000-4000-8000-000000000000`,
      uuid: "",
      mac: macOf(number),
      memoryKiB: "4000000",
      processors: "2",
      kernel: "6.1.0-37-amd64",
      controllers: "cpu memory pids",
      subuids: "65536",
      runtime: "containerd",
    }).flatMap(([key, value]) => ["--data-urlencode", `${key}=${value}`]),
  ];
  const pinned = ["--cacert", file("authority.pem"), "--capath", directory];
  const asMachine = (number: number) => ["--interface", loopbackOf(number)];

  const callback = await boot(1, "w1");
  const claim = (number: number, name: string, path: string) =>
    curl(
      ...pinned,
      ...asMachine(number),
      "--write-out",
      "%{http_code}",
      ...fields(name, number),
      `${https}${path}/join`,
    );
  const answer = await claim(1, "w1", callback);
  t.match(answer, /^name w1\nwait 20\n-----BEGIN CERTIFICATE-----/);
  t.match(answer, /200$/);
  t.equal(await claim(1, "w1", callback), answer, "again, the same");
  writeFileSync(
    file("w1.pem"),
    /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/.exec(answer)?.[0] ?? "",
  );
  execFileSync("cp", [file("w1.key"), file("mine.key")]);
  const mine = ["--cert", file("w1.pem"), "--key", file("mine.key")];
  const code = ["--output", "/dev/null", "--write-out", "%{http_code}"];

  await t.test("without its certificate nothing is told", async (t) => {
    t.equal(await curl(...pinned, ...code, `${https}/node/instruction?done=0&wait=0`), "401");
    t.equal(
      await curl(...code, `${server.url}/node/instruction?done=0&wait=0`),
      "401",
      "over HTTP least of all",
    );
  });

  await t.test("an instruction is an archive", async (t) => {
    await curl(...pinned, ...mine, "--output", file("i.tar"), `${https}/node/instruction?done=0&wait=20`);
    const text = execFileSync("tar", ["-xOf", file("i.tar"), "instruction"], { encoding: "utf8" });
    t.match(
      text,
      /^sequence=1\noperation=wait\ndeadline=[0-9]+\nmessage=waits for the cluster: no master has booted\narguments=\n$/,
    );
    t.equal(await curl(...pinned, ...mine, ...code, `${https}/node/instruction?done=1&wait=0`), "204");
    for (const query of ["", "?done=x&wait=0", "?done=1&wait=-1"])
      t.equal(await curl(...pinned, ...mine, ...code, `${https}/node/instruction${query}`), "400");
  });

  await t.test(
    "a certificate that has run out is taken from the key of this boot, and from no other",
    async (t) => {
      const authorities = await openClusterAuthorities(
        { dataDirectory: server.dataDir, passphrase: undefined },
        { now: Date.now(), keyAlgorithm: "ECDSA-P256" },
      );
      const { subject } = new X509Certificate(readFileSync(file("w1.pem")));
      const nameOf = (type: string) => new RegExp(`^${type}=(.+)$`, "m").exec(subject)?.[1] ?? "";
      const ask = async (key: string) => {
        const old = await issueCertificate(
          authorities.agent,
          clientProfile(nameOf("CN"), nameOf("O")),
          createPublicKey(readFileSync(file(key))),
          { notBefore: Date.now() - 2 * dayMs, notAfter: Date.now() - dayMs },
        );
        writeFileSync(file("old.pem"), old);
        const shown = ["--cert", file("old.pem"), "--key", file(key)];
        return curl(...pinned, ...shown, ...code, `${https}/node/instruction?done=1&wait=0`);
      };
      t.equal(await ask("mine.key"), "204");
      await boot(2, "m1");
      t.equal(await ask("m1.key"), "403");
    },
  );

  await t.test("a report keeps its log, without the secrets in it", async (t) => {
    const log = `I failed\nabcdef.0123456789abcdef\n${"a1".repeat(32)}\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`;
    writeFileSync(file("log"), log);
    t.equal(
      await curl(
        ...pinned,
        ...mine,
        ...code,
        "--header",
        "content-type: text/plain",
        "--data-binary",
        `@${file("log")}`,
        `${https}/node/report?sequence=1&result=1&phase=kubeadm`,
      ),
      "204",
    );
    const report = (query: string) =>
      curl(...pinned, ...mine, ...code, "--data-binary", "x", `${https}/node/report?${query}`);
    t.equal(await report("sequence=1&result=1&phase=a&phase=b"), "400", "a word said twice is none");
    t.equal(await report("sequence=1&sequence=1&result=1"), "400");
    const { items } = await server.api("GET", "/events?limit=1000");
    const told = plain(items.filter(({ type }) => plain(type) === "machine.log"));
    t.match(told, /I failed/);
    t.notMatch(told, /abcdef\.0123|a1a1a1|AAAA/);
  });

  await t.test("the API and the command's view", async (t) => {
    const { json } = await server.api("GET", "/cluster");
    t.match(json, {
      name: "kubernetes",
      kubernetesVersion: "v1.31.0",
      state: "empty",
      nodes: [{ machine: "w1", role: "worker", state: "queued" }],
    });
    t.notMatch(plain(json), /PRIVATE|BEGIN/);
    t.match((await server.api("GET", "/machines/w1")).json, {
      phase: "joining",
      cluster: { state: "queued" },
    });
    const kubeconfig = await server.api("GET", "/cluster/kubeconfig");
    t.match(kubeconfig.text, /client-key-data/);
    t.notMatch(kubeconfig.text, /insecure/);
    t.equal(kubeconfig.headers["cache-control"], "no-store");
    const command = ["--server", server.url, "--token", server.adminToken, "cluster"];
    for (const word of ["kubeconfig", "join"])
      t.match(
        await bootCommand([...command, word]),
        { code: 0, err: /^The cluster is empty: nobody answers at / },
        word,
      );
    await server.add(9, "m9");
    t.match(await bootCommand([...command, "log", "m9"]), { code: 0, out: /^m9 has not called back/ });
    t.match((await server.api("GET", "/cluster/transitions?machine=w1")).items, [
      { from: "none", to: "queued" },
    ]);
  });

  await t.test(
    "what is asked for by GET makes no token: the command of a machine by hand is made by POST",
    async (t) => {
      const { json } = await server.api("GET", "/cluster/join");
      t.match(json, {
        endpoint: /^https:/,
        authorityHash: /^sha256:/,
        members: [],
        command: /--token TOKEN$/,
      });
      t.equal((await server.api("GET", "/cluster/join?name=guest1")).status, 400);
      // Nobody serves the cluster here: the token can't be put into it.
      const made = await server.api("POST", "/cluster/join", { name: "guest1" });
      t.notMatch(made.status, 404);
      t.equal((await server.api("POST", "/cluster/join", {})).status, 400);
      t.equal((await server.api("POST", "/cluster/join", { name: "Guest 1" })).status, 400);
      t.match((await server.api("POST", "/cluster/join", { name: "w1" })).json, { code: "NODE_NAME_HELD" });
    },
  );

  await t.test("a master is armed by the code on its screen alone", async (t) => {
    const callback = await boot(2, "m1");
    await claim(2, "m1", callback);
    t.equal((await server.api("POST", "/cluster/arm", { machine: "m1", code: "000000" })).status, 403);
    t.equal((await server.api("POST", "/cluster/arm", { machine: "m1", code: "1" })).status, 400);
    t.equal((await server.api("POST", "/cluster/arm", { machine: "w9" })).status, 404);
    t.match((await server.api("GET", "/cluster")).json, { nodes: [{ machine: "m1", state: "unarmed" }, {}] });
    t.notMatch(
      (await server.api("GET", "/events?limit=1000")).text,
      /--code/,
      "the code is nowhere but on the screen",
    );
  });

  await t.test("a second key for the same boot ends it for both", async (t) => {
    const callback = await boot(1, "w1");
    t.match(await claim(1, "w1", callback), /200$/);
    execFileSync("cp", [file("w1.csr"), file("first.csr")]);
    await curl(...pinned, ...mine, ...code, `${https}/node/instruction?done=0&wait=0`).then((status) =>
      t.equal(status, "403", "the certificate of the boot before is worth nothing"),
    );
    execFileSync("cp", [file("m1.csr"), file("w1.csr")]);
    t.match(await claim(1, "w1", callback), /"code":"CLAIM_REFUSED".*403$/s);
    execFileSync("cp", [file("first.csr"), file("w1.csr")]);
    t.match((await server.api("GET", "/machines/w1")).json, { cluster: { state: "quarantined" } });
    const { items } = await server.api("GET", "/events?limit=1000");
    t.ok(items.some(({ level, type }) => plain(level) === "alarm" && plain(type) === "claim.refused"));
  });
});

t.test("what is wrong with declared objects is shown before there is a cluster", async (t) => {
  const objectsDir = temporaryDirectory(t);
  const students = join(objectsDir, "students.yaml");
  writeFileSync(
    students,
    "apiVersion: v1\nkind: Namespace\nmetadata: { name: one }\n---\nkind: Pod\nmetadata: { name: a }\n",
  );
  // Nobody writes to it any more.
  utimesSync(students, 0, 0);
  const server = await startWithCluster(t, { "cluster.objectsDir": objectsDir });
  /** The first pass comes soon after the start. */
  const declared = async (): Promise<unknown> => {
    for (;;) {
      const { declaredObjects } = (await server.api("GET", "/cluster")).json as unknown as {
        declaredObjects: { waiting: number };
      };
      if (declaredObjects.waiting > 0) return declaredObjects;
    }
  };
  const problem = { file: "students.yaml", document: "#2", line: 5, reason: "this Pod has no apiVersion" };
  t.match(await declared(), { applied: 0, waiting: 1, refused: 1, problems: [problem] });
  const command = ["--server", server.url, "--token", server.adminToken];
  t.match(await bootCommand([...command, "cluster", "show"]), {
    code: 0,
    out: /\nDeclared objects: 0 applied, 1 waiting, 1 refused:\n {2}students\.yaml #2 \(line 5\): this Pod has no apiVersion\n/,
  });
  const { items } = await server.api("GET", "/events?limit=1000");
  t.equal(items.filter(({ type }) => plain(type) === "cluster.object-refused").length, 1);
});

t.test("whoever arms or looks at a machine whose role is not a node's is told what to do", async (t) => {
  const server = await startWithCluster(t);
  await server.addImage();
  const command = ["--server", server.url, "--token", server.adminToken];
  await server.add(1, "x1");
  for (const [role, nodeRole, told] of [
    ["w", "worker", /^x1 is armed, but its role w makes it a worker, which .* boot x1 master\n$/],
    ["rescue", null, /^x1 is armed, but its role rescue makes it no node\. .* boot x1 master\n$/],
    ["m", "master", /^x1 may join with its next boot within 15 minutes\.\n$/],
  ] as const) {
    await server.assign("x1", role);
    const { status, json } = await server.api("POST", "/cluster/arm", { machine: "x1" });
    t.match({ status, json }, { status: 200, json: { armed: "x1", role, nodeRole } });
    t.match(await bootCommand([...command, "cluster", "arm", "x1"]), { code: 0, out: told });
  }
  await server.assign("x1", "rescue");
  t.match(await bootCommand([...command, "preview", "x1", "node"]), {
    code: 1,
    err: /x1 becomes no node of a cluster: it gets rescue[^]*`boot x1 worker` or `boot x1 master`/,
  });
});

t.test("what keeps a cluster's state is told, and that a code is for a boot under way", async (t) => {
  for (const [etcd, ephemeral, line] of [
    ["server", false, /^Etcd server: on the server's disk$/m],
    ["ephemeral", true, /^Etcd ephemeral: each start of the cluster is a new one/m],
    ["stacked", false, /^Etcd stacked: in the masters' RAM$/m],
  ] as const) {
    const server = await startWithCluster(t, { "cluster.etcd": etcd });
    t.match((await server.api("GET", "/cluster")).json, { etcdMode: etcd, ephemeral });
    const command = ["--data", server.dataDir, "cluster"];
    t.match(await bootCommand([...command, "show"]), { code: 0, out: line });
    if (ephemeral) {
      await server.add(1, "x1");
      t.match(await bootCommand([...command, "arm", "x1", "--code", "123456"]), {
        code: 1,
        err: /^NODE_NOT_FOUND: x1 has not called back .*\n.*boot cluster arm x1 --for 30/,
      });
    }
    await server.stop();
  }
});

t.test("a server without a cluster says so", async (t) => {
  const server = await startServer(t);
  t.match((await server.api("GET", "/cluster")).json, { code: "NO_CLUSTER", status: 404 });
  t.match((await server.ask("/callback/x/join", { method: "POST", body: {} })).json, { code: "NO_CLUSTER" });
});
