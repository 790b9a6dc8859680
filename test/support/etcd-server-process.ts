import { createEtcdSupervisor } from "../../server/etcd/supervisor.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";

/** A process with an etcd under it, to be killed: `<data directory of the authorities> <directory> <address> <port>`. It says when it is healthy. */
const [dataDirectory = "", directory = "", address = "", port = ""] = process.argv.slice(2);
const keyAlgorithm = "ECDSA-P256";
const { etcd } = await openClusterAuthorities({ dataDirectory }, { now: Date.now(), keyAlgorithm });
await createEtcdSupervisor({
  program: "etcd",
  directory,
  address: address as Ipv4,
  port: Number(port),
  cluster: "lab",
  authority: etcd,
  keyAlgorithm,
  clock: systemClock,
  log: silentLog,
  record() {},
}).start();
process.stdout.write("healthy\n");
