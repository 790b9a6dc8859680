import { once } from "node:events";
import { connect } from "node:net";
import t, { type Test } from "tap";
import { startServer } from "./support/http-fixture.ts";

function open(t: Test, port: number) {
  const socket = connect({ port, host: "127.0.0.1" });
  const opened = { socket, text: "", answers: () => opened.text.split("HTTP/1.1 200 OK").length - 1 };
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => (opened.text += chunk.toString("latin1")));
  t.teardown(() => socket.destroy());
  return opened;
}

t.test(
  "a connection has 16 requests under way at most, and as many as it likes one after the other",
  async (t) => {
    const server = await startServer(t);
    const ports = [
      { port: server.port, path: "/healthz" },
      { port: server.app.addresses.registryPort ?? 0, path: "/v2/" },
    ];
    for (const { port, path } of ports) {
      const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
      const one = open(t, port);
      for (let number = 1; number <= 40; number++) {
        one.socket.write(request);
        while (one.answers() < number) await once(one.socket, "data");
      }
      one.socket.write(request.repeat(16));
      while (one.answers() < 56) await once(one.socket, "data");
      t.notOk(one.socket.closed, `${path}: sixteen at once`);
      const greedy = open(t, port);
      greedy.socket.write(request.repeat(500));
      await once(greedy.socket, "close");
      t.ok(greedy.answers() < 500, `${path}: ${greedy.answers()} of 500`);
    }
  },
);
