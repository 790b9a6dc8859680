import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startServer } from "../support/http-fixture.ts";

t.test(
  "without a cluster in the config no key is made, no port is opened and roles boot as ever",
  async (t) => {
    const server = await startServer(t);
    await server.addImage();
    await server.add(1, "s4");
    await server.assign("s4", "worker");
    t.equal(server.app.addresses.tlsPort, undefined);
    t.same(
      readdirSync(server.dataDir).filter((name) => ["etcd", "machine-id.key"].includes(name)),
      [],
    );
    t.same(
      readdirSync(join(server.dataDir, "pki")).toSorted(),
      ["registry-ca.crt", "seal.key", "services.json", "ssh.json"],
      "the registry's authority and the key for SSH alone",
    );
    const { text } = await server.script(1);
    t.match(text, /^#!ipxe/);
    t.match(text, /\/callback\/[a-z0-9]+/);
    t.notMatch(text, /node\.cpio/, "no second initrd");
    t.match((await server.api("GET", "/machines/s4")).json, { cluster: null });
    for (const path of [
      "",
      "/kubeconfig",
      "/join",
      "/transitions",
      "/endpoint/haproxy",
      "/endpoint/authority",
    ])
      t.match((await server.api("GET", `/cluster${path}`)).json, { code: "NO_CLUSTER", status: 404 }, path);
  },
);
