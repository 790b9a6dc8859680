import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Test } from "tap";
import { temporaryDirectory } from "./samples.ts";

export interface IpmiBoard {
  readonly port: number;
  /** What was done to its chassis: `set power 1`. */
  orders(): string[];
  /** Is its machine on, and from now on so. */
  set(isOn: boolean): void;
}

/** OpenIPMI's simulator of a board, whose machine is a file. */
export async function startIpmiBoard(t: Test, user: string, password: string): Promise<IpmiBoard> {
  const directory = temporaryDirectory(t);
  const file = (name: string) => join(directory, name);
  const port = await freePort();
  const auths = ["callback", "user", "operator", "admin"].map(
    (level) => `    allowed_auths_${level} none md2 md5 straight`,
  );
  const config = [
    'name "board"',
    "set_working_mc 0x20",
    "  startlan 1",
    `    addr 127.0.0.1 ${port}`,
    "    priv_limit admin",
    ...auths,
    "    guid a123456789abcdefa123456789abcdef",
    "  endlan",
    `  chassis_control "${file("chassis")}"`,
    `  user 2 true "${user}" "${password}" admin 10 none md2 md5 straight`,
    "",
  ];
  const chassis = [
    "#!/bin/sh",
    `case $1 in`,
    `  get) echo "power:$(cat ${file("power")})" ;;`,
    `  set) echo "$*" >> ${file("orders")}; echo "$3" > ${file("power")} ;;`,
    "esac",
    "",
  ];
  const emulation = [
    "mc_setbmc 0x20",
    "mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr",
    "mc_enable 0x20",
    "",
  ];
  mkdirSync(file("state"));
  writeFileSync(file("lan.conf"), config.join("\n"));
  writeFileSync(file("board.emu"), emulation.join("\n"));
  writeFileSync(file("chassis"), chassis.join("\n"), { mode: 0o755 });
  writeFileSync(file("power"), "0\n");
  const board = spawn(
    "ipmi_sim",
    ["-c", file("lan.conf"), "-f", file("board.emu"), "-s", file("state"), "-n"],
    { stdio: "ignore" },
  );
  const ended = new Promise((resolve) => board.once("exit", resolve));
  // It takes SIGTERM for an order to its machine.
  t.teardown(() => (board.kill("SIGKILL"), ended));
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (let round = 0; round < 500 && !readFileSync("/proc/net/udp", "utf8").includes(local); round++)
    await sleep(10);
  return {
    port,
    orders: () => (existsSync(file("orders")) ? readFileSync(file("orders"), "utf8").trim().split("\n") : []),
    set: (isOn) => writeFileSync(file("power"), isOn ? "1\n" : "0\n"),
  };
}

/** It can't be told to take any free one. */
async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}
