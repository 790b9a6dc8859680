import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t, { type Test } from "tap";
import { createLan, type Lan } from "../support/namespaces.ts";
import { type SampleImage, sampleImage, writeLayout } from "../support/oci-image.ts";
import { createRoomMachine, type RoomMachine, type Said } from "../support/room-machine.ts";
import { temporaryDirectory } from "../support/samples.ts";

const address = "10.72.9.1";
const steps = readFileSync(join(import.meta.dirname, "../support/podsec-steps.sh"), "utf8");

/** A server on the ports and under the names that podsec knows. */
async function startServer(t: Test, lan: Lan) {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, "tmp"));
  const settings = { "registry.port": 80, "registry.tlsPort": 443, "lookaside.port": 81 };
  const program = join(import.meta.dirname, "../support/registry-process.ts");
  const child = lan.start("server", [
    "env",
    `TMPDIR=${join(directory, "tmp")}`,
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    program,
    join(directory, "data"),
    JSON.stringify(settings),
  ]);
  if (!child.stdout) throw new Error("no standard output");
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { http, token } = JSON.parse(line) as { http: number; token: string };
  return {
    post(path: string, body: object): Record<string, string> {
      const words = ["--silent", "--show-error", "--fail-with-body", "--json", JSON.stringify(body)];
      const url = `http://127.0.0.1:${http}/api/v1${path}`;
      const said = lan.run("server", "curl", ...words, "--header", `Authorization: Bearer ${token}`, url);
      return JSON.parse(said) as Record<string, string>;
    },
  };
}

/** What podsec-save-oci leaves: `<arch>.tar.xz` with an OCI layout below `<arch>/`, whose images have names without a registry. */
function savedImages(t: Test, images: Readonly<Record<string, SampleImage>>): string {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, "amd64"));
  writeLayout(join(directory, "amd64"), images);
  const archive = join(directory, "amd64.tar.xz");
  execFileSync("tar", ["-cJf", archive, "-C", directory, "amd64"]);
  return archive;
}

/** One of podsec's commands. */
const step = (machine: RoomMachine, ...words: string[]) =>
  machine.root("sh", "-c", steps, "podsec", ...words);
const stepAs = (machine: RoomMachine, user: string, ...words: string[]) =>
  machine.as(user, "sh", "-c", steps, "podsec", ...words);

function must({ code, stdout, said }: Said): string {
  if (code !== 0) throw new Error(`it ended with ${code}:\n${said}`);
  return stdout;
}

t.test("podsec's commands work unmodified with this server, from another machine as well", async (t) => {
  const lan = createLan(t, {
    server: { s0: `lan ${address}/24` },
    maker: { m0: "lan 10.72.9.2/24" },
    pupil: { p0: "lan 10.72.9.3/24" },
  });
  const server = await startServer(t, lan);
  const maker = await createRoomMachine(t, lan, "maker");
  const pupil = await createRoomMachine(t, lan, "pupil");
  const directory = temporaryDirectory(t);
  const archive = savedImages(t, {
    "p10/hello:1.0": sampleImage(directory, "hello"),
    "p10/hello:1.2": sampleImage(directory, "hello again"),
    "p10/pause:3.9": sampleImage(directory, "pause"),
  });
  const push = ["podman", "push", "--quiet", "--tls-verify=false"];
  const pull = (image: string, ...more: string[]) =>
    pupil.as("pupil", "podman", "pull", "--quiet", ...more, image);

  await t.test("an image maker signs from his own machine what was saved", async (t) => {
    must(await step(maker, "create-policy", address));
    must(await step(maker, "create-imagemakeruser", "imagemaker", "imagemaker@lab.test"));
    const publicKey = Buffer.from(must(await maker.root("cat", "/var/sigstore/keys/imagemaker.pgp")));
    server.post("/keys", { name: "imagemaker", publicKey: publicKey.toString("base64") });
    const { token = "" } = server.post("/tokens", {
      name: "imagemaker",
      scope: "imagemaker",
      repositories: ["p10/*"],
    });
    const login = ["podman", "login", "--tls-verify=false", "--username", "imagemaker", "--password", token];
    must(await maker.as("imagemaker", ...login, "registry.local"));
    must(await maker.root("cp", archive, "/home/imagemaker/amd64.tar.xz"));
    must(await maker.root("chown", "imagemaker:podman", "/home/imagemaker/amd64.tar.xz"));
    must(await stepAs(maker, "imagemaker", "load-sign-oci", "amd64.tar.xz", "amd64", "imagemaker@lab.test"));
    const unsigned = "registry.local/p10/unsigned:1.0";
    must(await maker.as("imagemaker", "podman", "tag", "registry.local/p10/hello:1.0", unsigned));
    must(await maker.as("imagemaker", ...push, unsigned));
    const elsewhere = "registry.local/other/hello:1.0";
    must(await maker.as("imagemaker", "podman", "tag", "registry.local/p10/hello:1.0", elsewhere));
    t.match(await maker.as("imagemaker", ...push, elsewhere), { code: 125, said: /denied|p10/i });
    t.match(await maker.root("ls", "/var/sigstore/sigstore"), { code: 2 }, "signatures went to the server");
  });

  await t.test(
    "a client fetches policy and keys, and its policy is one that podsec has no fault with",
    async (t) => {
      must(await step(pupil, "create-policy", address));
      must(await step(pupil, "create-podmanuser", "pupil"));
      const files = must(await pupil.root("ls", "/var/sigstore/keys"));
      t.same(files.trim().split("\n"), ["imagemaker.pgp", "policy.json"]);
      t.equal(must(await step(pupil, "check-policy")), "");
      t.match(await step(pupil, "create-policy", address), { code: 1, said: /names already/ }, "once");
      t.equal(must(await stepAs(pupil, "pupil", "latest-tag", "p10/hello")), "1.2\n");
    },
  );

  await t.test("it pulls without root what is signed, and nothing else", async (t) => {
    for (const image of ["p10/hello:1.0", "p10/hello:1.2", "p10/pause:3.9"])
      must(await pull(`registry.local/${image}`));
    const refused = { code: 125, said: /signature was required|rejected/i };
    t.match(await pull("registry.local/p10/unsigned:1.0"), refused, "there is no signature");
    t.match(
      await pull(`${address}/p10/hello:1.0`, "--tls-verify=false"),
      refused,
      "by another name of the registry",
    );
    const { code, said } = await pupil.as(
      "pupil",
      "podman",
      "images",
      "--format",
      "{{.Repository}}:{{.Tag}}",
    );
    t.equal(code, 0);
    t.notMatch(said, /unsigned/);
  });

  await t.test("what was pulled before there was a policy is found to be unsigned", async (t) => {
    writeFileSync(join(directory, "any.json"), '{"default":[{"type":"insecureAcceptAnything"}]}');
    must(await pupil.root("cp", join(directory, "any.json"), "/home/pupil/any.json"));
    must(await pupil.root("chmod", "644", "/home/pupil/any.json"));
    const before = ["podman", "pull", "--quiet", "--signature-policy", "any.json"];
    must(await pupil.as("pupil", ...before, "registry.local/p10/unsigned:1.0"));
    const found = must(await stepAs(pupil, "pupil", "check-images"));
    t.same(
      found
        .trim()
        .replaceAll(/@sha256:[0-9a-f]{64}/g, "")
        .split("\n"),
      [
        "signed registry.local/p10/hello",
        "signed registry.local/p10/hello",
        "signed registry.local/p10/pause",
        "unsigned registry.local/p10/unsigned",
      ],
    );
  });

  await t.test("a client that comes after the key was revoked takes nothing that it signed", async (t) => {
    server.post("/keys/imagemaker/revoke", {});
    must(await pupil.root("sh", "-c", "echo '127.0.0.1 localhost' >/etc/hosts && rm /var/sigstore/keys/*"));
    must(await step(pupil, "create-policy", address));
    t.equal(must(await pupil.root("ls", "/var/sigstore/keys")).trim(), "policy.json");
    must(await pupil.as("pupil", "podman", "rmi", "--all", "--force"));
    t.match(await pull("registry.local/p10/hello:1.0"), { code: 125, said: /rejected/i });
  });
});
