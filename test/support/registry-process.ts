/**
 * A server as a process of its own, to be killed: its arguments are the data directory and settings as JSON. Prints
 * `{"registry":port,"http":port,"token":"…"}`; the token is empty but at the first start of a data directory.
 */
import { startServer } from "./http-fixture.ts";

const [dataDir = "", settings = "{}"] = process.argv.slice(2);
const { app, adminToken } = await startServer(
  { teardown: () => undefined },
  { dataDir, settings: JSON.parse(settings) as Record<string, unknown> },
);
const { registryPort, httpPort } = app.addresses;
process.stdout.write(`${JSON.stringify({ registry: registryPort, http: httpPort, token: adminToken })}\n`);
