import { once } from "node:events";
import { connect } from "node:net";
import t from "tap";
import { largestSignature } from "../../server/domain/signature.ts";
import { registryLab } from "../support/registry-lab.ts";

t.test("a signature that is too large is refused with a 400, and its connection goes on", async (t) => {
  const { server, push, image, address } = await registryLab(t);
  const { manifest } = await image("p10/app", "1.0");
  const paths = [
    `/extensions/v2/p10/app/signatures/${manifest.digest}`,
    `/sigstore/p10/app@${manifest.digest.replace(":", "=")}/signature-1`,
  ];
  const large = Buffer.alloc(16 * largestSignature, "x");
  async function* inPieces() {
    for (let at = 0; at < large.length; at += 16_384) yield large.subarray(at, at + 16_384);
  }
  for (const path of paths)
    for (const body of [large, inPieces()])
      t.match(await push("PUT", path, { body }), {
        status: 400,
        text: /SIGNATURE_MALFORMED/,
      });

  const [host = "", port] = address.split(":");
  const socket = connect({ host, port: Number(port) });
  t.teardown(() => socket.destroy());
  let said = "";
  socket.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const words = [`Host: ${address}`, `Authorization: Bearer ${server.adminToken}`];
  socket.write(
    [`PUT ${paths[1]} HTTP/1.1`, ...words, `Content-Length: ${large.length}`, "", ""].join("\r\n"),
  );
  while (!said.includes("SIGNATURE_MALFORMED")) await once(socket, "data");
  socket.write(large);
  socket.write(["GET /v2/ HTTP/1.1", ...words, "", ""].join("\r\n"));
  while (!said.includes("HTTP/1.1 200")) await once(socket, "data");
  t.match(said, /^HTTP\/1\.1 400 /);
});
