/** Diagnoses of systems and of the cluster, each made to happen to a real server over loopback sockets by curl and openssl, unless the name says otherwise. */
import { execFile, execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { clientOptions } from "../support/dhcp-messages.ts";
import { type DoctorLab, doctorLab } from "../support/doctor-lab.ts";
import { freePort } from "../support/free-port.ts";
import { curl, loopbackOf } from "../support/http-fixture.ts";
import { askRegistry } from "../support/registry-lab.ts";
import { blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";
import { macOf, temporaryDirectory } from "../support/samples.ts";

const uefi = { options: clientOptions.ovmf };
const cloudRole = (more = "") =>
  `description: a system\nboot: image\nimage: debian-node\n${more}templates: { user-data: u.hbs }\n`;
const roles = {
  "sys/role.yaml": cloudRole(),
  "sys/u.hbs": "#cloud-config\n{}\n",
  "w/role.yaml": cloudRole("node: worker\n"),
  "w/u.hbs": "#cloud-config\n{}\n",
  "m/role.yaml": cloudRole("node: master\n"),
  "m/u.hbs": "#cloud-config\n{}\n",
};

/** A machine that runs its system so far. */
async function running(lab: DoctorLab, number: number, role = "sys") {
  await lab.add(number, `s${number}`);
  await lab.assign(`s${number}`, role);
  const claim = await lab.claim(number);
  const post = (what: string, body: unknown, from = number) =>
    lab.ask(`/callback/${claim}/${what}`, { method: "POST", from, body });
  const config = (from = number) => lab.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from });
  return { claim, post, config };
}

/** OpenSSL as a machine's client whose clock says another time (seconds since 1970). */
function tlsClient({
  port,
  number,
  authority,
  at,
}: Record<"port" | "authority" | "at", string> & { number: number }): Promise<void> {
  return new Promise((resolve) => {
    const child = execFile(
      "openssl",
      [
        "s_client",
        "-connect",
        `127.0.0.1:${port}`,
        "-bind",
        loopbackOf(number),
        "-CAfile",
        authority,
        "-verify_return_error",
        "-attime",
        at,
      ],
      () => resolve(),
    );
    child.stdin?.end();
  });
}

async function throughAllParts(
  lab: DoctorLab,
  number: number,
  files: Record<"kernel" | "initrd" | "rootfs", string>,
) {
  const { post, config } = await running(lab, number);
  for (const kind of ["kernel", "initrd"] as const)
    await lab.ask(`/assets/${files[kind]}/x`, { from: number });
  lab.later(number);
  await post("phase", { step: "network" });
  await lab.ask(`/assets/${files.rootfs}/x`, { from: number });
  lab.later(number);
  for (const step of ["verify", "switch-root"]) await post("phase", { step });
  await config();
  await post("joined", {});
}

t.test("one server, machine after machine", async (t) => {
  const lab = await doctorLab(t, { roles });
  const files = await lab.addImage();

  t.test("CONFIG_CLAIM_REFUSED: the config is asked for from another machine's address", async (t) => {
    const { config, claim } = await running(lab, 1);
    lab.later(2);
    t.equal((await config(2)).status, 403);
    const first = await lab.first("s1");
    t.match(first, {
      code: "CONFIG_CLAIM_REFUSED",
      certainty: "certain",
      what: /minted for another address/,
      advice: [/reservation/],
    });
    t.notMatch(JSON.stringify(first), claim, "the claim is a secret");
    lab.later(2);
    await config();
    t.not((await lab.first("s1"))?.code, "CONFIG_CLAIM_REFUSED", "the machine got it all the same");
  });

  t.test("CLOCK_WRONG: its log says that a certificate is not valid yet", async (t) => {
    const { post } = await running(lab, 3);
    await post(
      "log",
      "kubelet: x509: certificate has expired or is not yet valid: current time 2001-01-01T00:00:00Z is before 2026\n",
    );
    t.match(await lab.first("s3"), {
      code: "CLOCK_WRONG",
      certainty: "certain",
      evidence: [{ what: /current time 2001/ }],
    });
  });

  t.test("MACHINE_REPORTED_FAULT: what it says is told with what to do", async (t) => {
    const { post } = await running(lab, 4);
    await post("failed", { code: "IGNITION_FAILED", message: "files stage: no space" });
    t.match(await lab.doctor("s4"), {
      diagnoses: [{ code: "MACHINE_REPORTED_FAULT", what: /no space/, advice: [/Correct the role/] }],
    });
  });

  t.test("CONFIG_NOT_MADE: the role is gone when the system asks for its config", async (t) => {
    const own = await doctorLab(t, { roles, mode: "off" });
    await own.addImage();
    const { config } = await running(own, 1);
    own.later(2);
    rmSync(join(own.rolesDir, "sys"), { recursive: true });
    own.later(10);
    t.ok((await config()).status >= 400);
    t.match(await own.first("s1"), { code: "CONFIG_NOT_MADE", certainty: "certain" });
  });

  t.test("SYSTEM_SILENT: the system on the root does not ask, or does not call back", async (t) => {
    const { post, config } = await running(lab, 5);
    await post("phase", { step: "switch-root" });
    t.match(await lab.first("s5"), { code: "UNDER_WAY", fine: true });
    lab.later(6 * 60);
    t.match(await lab.first("s5"), { code: "SYSTEM_SILENT", candidates: [{ code: "SYSTEM_HANGS" }, {}] });
    await config();
    lab.later(14 * 60);
    t.not((await lab.first("s5"))?.code, "SYSTEM_SILENT", "it has its config, and time");
    lab.later(3 * 60);
    t.match(await lab.first("s5"), {
      code: "SYSTEM_SILENT",
      candidates: [{ code: "CONFIG_STEP_FAILED" }, {}],
    });
  });

  t.test(
    "HEALTHY: how long each part took, beside the room's median; and what comes after it counts",
    async (t) => {
      for (const number of [10, 20, 30]) await throughAllParts(lab, number, files);
      const view = await lab.doctor("s10");
      t.match(view, { fine: true, diagnoses: [{ code: "HEALTHY", certainty: "certain" }] });
      t.match(
        view.parts.find(({ what }) => what.startsWith("kernel and initramfs start")),
        { ms: 10_000, medianMs: 25_000 },
      );
      for (const secs of [0, 4, 12]) {
        lab.later(6);
        lab.dhcp(10, { type: "Discover", secs, ...uefi });
        await lab.seen("s10", secs === 12 ? "OFFERS_NOT_MERGED" : "UNDER_WAY");
      }
      t.match(await lab.first("s10"), { certainty: "probable" }, "it was started anew, and gets no further");
    },
  );

  t.test("SYSTEM_SILENT: sooner where the room's machines call back within seconds", async (t) => {
    const { post, config } = await running(lab, 11);
    await post("phase", { step: "switch-root" });
    await config();
    lab.later(110);
    t.match(await lab.first("s11"), { code: "UNDER_WAY" });
    lab.later(20);
    t.match(await lab.first("s11"), {
      code: "SYSTEM_SILENT",
      evidence: [{}, { what: /nothing came within 2 min: 3 other machines of its room took 0 s/ }],
    });
  });

  t.test("WAITS_FOR_ROLE and AT_ITS_DISK are no faults", async (t) => {
    await lab.add(6, "s6");
    await lab.script(6);
    t.match(await lab.first("s6"), { code: "WAITS_FOR_ROLE", fine: true });
    await lab.add(7, "s7");
    await lab.assign("s7", "local");
    await lab.script(7);
    t.match(await lab.first("s7"), { code: "AT_ITS_DISK", fine: true });
  });

  t.test("BOOT_LOOP: boot after boot ends at the same station", async (t) => {
    await lab.add(8, "s8");
    await lab.assign("s8", "sys");
    for (let boot = 0; boot < 4; boot++) {
      lab.dhcp(8, { type: "Discover", ...uefi });
      await lab.seen("s8", "UNDER_WAY");
      await lab.script(8);
      await lab.ask(`/assets/${files.kernel}/vmlinuz`, { from: 8 });
      lab.later(60);
      if (boot < 2) t.notMatch(await lab.codes("s8"), /BOOT_LOOP/);
    }
    t.match(await lab.first("s8"), {
      code: "BOOT_LOOP",
      certainty: "certain",
      what: /4 times .* got to kernel each time/,
    });
  });

  t.test("ROOT_NOT_LOADED and not SWITCHED_OFF: what says more stands alone", async (t) => {
    const { post } = await running(lab, 9);
    await post("phase", { step: "network" });
    lab.later(16 * 60);
    t.match(await lab.first("s9"), { code: "ROOT_NOT_LOADED", certainty: "probable" });
  });
});

t.test("UNSIGNED_IMAGE: the registry refuses a machine what nobody signed", async (t) => {
  const lab = await doctorLab(t, {
    roles,
    settings: { "registry.repositories": [{ pattern: "p10/*", mode: "require-signed" }] },
  });
  await lab.addImage();
  await running(lab, 1);
  const url = `http://127.0.0.1:${lab.app.addresses.registryPort}`;
  const push = { token: lab.adminToken };
  const config = blobOf("{}");
  const manifest = manifestOf(config, []);
  await askRegistry(url, `/v2/p10/pause/blobs/uploads/?digest=${config.digest}`, {
    ...push,
    method: "POST",
    body: config.content,
  });
  const put = await askRegistry(url, "/v2/p10/pause/manifests/3.9", {
    ...push,
    method: "PUT",
    body: manifest.content,
    headers: { "content-type": ociManifest },
  });
  t.equal(put.status, 201, put.text);
  lab.later(5);
  await curl("--interface", loopbackOf(1), `${url}/v2/p10/pause/manifests/3.9`);
  t.match(await lab.first("s1"), {
    code: "UNSIGNED_IMAGE",
    certainty: "certain",
    what: /p10\/pause:3\.9, which is not signed/,
    advice: [/boot sign/, /./],
  });
  await running(lab, 2);
  t.notMatch(await lab.codes("s2"), /UNSIGNED_IMAGE/, "another machine asked for nothing");

  t.test(
    "AUTHORITY_NOT_TRUSTED: a client does not know the authority of the registry's certificate",
    async (t) => {
      const port = String(lab.app.addresses.registryTlsPort);
      const from = ["--interface", loopbackOf(2), `https://127.0.0.1:${port}/v2/`];
      await t.rejects(curl(...from), /Command failed/);
      t.match(await lab.seen("s2", "AUTHORITY_NOT_TRUSTED"), {
        diagnoses: [
          {
            certainty: "certain",
            what: /s2 broke off TLS with this server's registry/,
            evidence: [{ what: /TLS alert unknown_ca/ }],
            advice: [/boot registry authority/, /./],
          },
        ],
      });
      // What Go says of a certificate that it does not take, whatever the reason; here OpenSSL says it, of one that is not valid yet.
      await running(lab, 3);
      const authority = join(temporaryDirectory(t), "authority.pem");
      writeFileSync(authority, readFileSync(join(lab.dataDir, "pki/registry-ca.crt")));
      await tlsClient({ port, number: 3, authority, at: "946684800" });
      t.match(await lab.seen("s3", "AUTHORITY_NOT_TRUSTED"), {
        diagnoses: [
          {
            certainty: "probable",
            candidates: [{ code: "AUTHORITY_NOT_TRUSTED" }, { code: "OTHER_NAME" }, { code: "CLOCK_WRONG" }],
          },
        ],
      });
      await running(lab, 4);
      await tlsClient({ port, number: 4, authority, at: "4102444800" });
      t.match(await lab.seen("s4", "CLOCK_WRONG"), { diagnoses: [{ certainty: "certain" }] });
    },
  );
});

/** A server with a cluster, and machines whose agent is curl. */
async function clusterLab(t: Test) {
  const directory = temporaryDirectory(t);
  const lab = await doctorLab(t, {
    roles,
    mode: "off",
    settings: {
      "https.port": 0,
      "cluster.kubernetesVersion": "1.31.0",
      "cluster.endpoint": `api.lab:${await freePort()}`,
    },
  });
  await lab.addImage();
  const file = (name: string) => join(directory, name);
  const https = `https://127.0.0.1:${lab.app.addresses.tlsPort}`;
  const authority = file("authority.pem");

  async function boot(number: number, role: string): Promise<string> {
    const { claim } = await running(lab, number, role);
    const { text } = await lab.ask(`/boot/claims/${claim}/node.cpio`, { from: number });
    writeFileSync(
      authority,
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/.exec(text)?.[0] ?? "",
    );
    return claim;
  }
  const tls = (number: number) => [
    "--cacert",
    authority,
    "--capath",
    directory,
    "--interface",
    loopbackOf(number),
  ];
  /** The agent calls back to join. @returns the status */
  async function join_(
    number: number,
    claim: string,
    key: string,
    more: Record<string, string> = {},
  ): Promise<string> {
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
        file(`${key}.key`),
        "-subj",
        "/CN=agent",
        "-out",
        file(`${key}.csr`),
      ],
      { stdio: "ignore" },
    );
    const fields = {
      bootId: "00000001-0000-4000-8000-000000000000",
      uuid: "",
      mac: macOf(number),
      memoryKiB: "4000000",
      processors: "2",
      kernel: "6.1.0-37-amd64",
      controllers: "cpu memory pids",
      subuids: "65536",
      runtime: "containerd",
      ...more,
    };
    const answer = await curl(
      ...tls(number),
      "--write-out",
      "%{http_code}",
      "--data-urlencode",
      `csr@${file(`${key}.csr`)}`,
      ...Object.entries(fields).flatMap(([name, value]) => ["--data-urlencode", `${name}=${value}`]),
      `${https}/callback/${claim}/join`,
    );
    writeFileSync(
      file(`${key}.pem`),
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/.exec(answer)?.[0] ?? "",
    );
    return answer.slice(-3);
  }
  return { lab, file, https, authority, boot, join: join_, tls };
}

t.test("a cluster, machine after machine", async (t) => {
  const { lab, file, https, authority, boot, join: joinAs, tls } = await clusterLab(t);

  t.test(
    "WAITS_FOR_CLUSTER, then MASTER_NOT_ARMED: both are fine, and the worker is told which master it waits for",
    async (t) => {
      t.equal(await joinAs(1, await boot(1, "w"), "w1"), "200");
      t.match(await lab.first("s1"), { code: "WAITS_FOR_CLUSTER", fine: true, what: /none is up/ });
      t.equal(await joinAs(2, await boot(2, "m"), "m2"), "200");
      t.match(await lab.first("s2"), {
        code: "MASTER_NOT_ARMED",
        fine: true,
        advice: [/boot cluster arm/, /./],
      });
      t.match(await lab.first("s1"), {
        code: "WAITS_FOR_CLUSTER",
        what: /s2 waits to be armed/,
        advice: [/boot cluster arm s2/],
      });
    },
  );

  t.test("CLAIMED_TWICE: another key claims the same boot", async (t) => {
    const claim = await boot(3, "w");
    await joinAs(3, claim, "w3");
    t.equal(await joinAs(3, claim, "other"), "403");
    t.match(await lab.first("s3"), {
      code: "CLAIMED_TWICE",
      certainty: "certain",
      evidence: [{ what: /quarantined/ }, {}],
    });
  });

  t.test("NODE_UNFIT and JOIN_IDENTITY_REFUSED: what it says of itself does not do", async (t) => {
    await joinAs(4, await boot(4, "w"), "w4", { controllers: "memory" });
    t.match(await lab.first("s4"), { code: "NODE_UNFIT", what: /cpu, pids/ });
    t.equal(await joinAs(5, await boot(5, "w"), "w5", { mac: macOf(99) }), "403");
    t.match(await lab.first("s5"), { code: "JOIN_IDENTITY_REFUSED", what: /52:54:00:00:00:63/ });
  });

  t.test(
    "ENDPOINT_UNREACHABLE: kubeadm's own words, reported by the agent of a machine that joins",
    async (t) => {
      await joinAs(6, await boot(6, "w"), "w6");
      const id = lab.store.machines.findByMac(macOf(6))?.id ?? "";
      await lab.store.cluster.updateNode(
        id,
        (node) => node && { ...node, state: "joining", sequence: 7 },
        "test",
        lab.clock.now(),
      );
      const log =
        '[preflight] Running pre-flight checks\nerror execution phase preflight: couldn\'t validate the identity of the API Server: Get "https://api.lab:6443/api": dial tcp 10.0.0.9:6443: connect: no route to host\n';
      const status = await curl(
        ...tls(6),
        "--cert",
        file("w6.pem"),
        "--key",
        file("w6.key"),
        "--write-out",
        "%{http_code}",
        "--data-binary",
        log,
        `${https}/node/report?sequence=7&result=1&phase=kubeadm`,
      );
      t.equal(status, "204");
      const view = await lab.doctor("s6");
      t.match(view.diagnoses[0], {
        code: "ENDPOINT_UNREACHABLE",
        certainty: "certain",
        what: /api\.lab:\d+, behind which no API server is ready/,
        evidence: [{ what: /no route to host/ }, {}],
      });
      t.notMatch(
        view.diagnoses.map(({ code }) => code),
        /JOIN_FAILED/,
        "what says less is left out",
      );
    },
  );

  t.test(
    "CLOCK_WRONG: a TLS client whose clock is ahead breaks off, and one whose clock is behind",
    async (t) => {
      const port = String(lab.app.addresses.tlsPort);
      const connect = (number: number, at: string) => tlsClient({ port, number, authority, at });
      await boot(7, "w");
      await boot(8, "w");
      await connect(7, "4102444800");
      t.match(await lab.seen("s7", "CLOCK_WRONG"), {
        diagnoses: [{ certainty: "certain", what: /has expired/ }],
      });
      await connect(8, "946684800");
      t.match(await lab.seen("s8", "CLOCK_WRONG"), {
        diagnoses: [
          { certainty: "probable", candidates: [{ code: "CLOCK_WRONG" }, { code: "OTHER_AUTHORITY" }] },
        ],
      });
    },
  );
});
