import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, mkdirSync, readFileSync, watch, writeFileSync } from "node:fs";
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

export interface IpmiBoardPlay {
  /** Words that run a program in another network, where the board is then, at 127.0.0.1 too. */
  readonly inside?: (...words: string[]) => string[];
  /** Its machine gets or loses its power: one order after the other. */
  readonly onPower?: (isOn: boolean) => Promise<void>;
}

/** OpenIPMI's simulator of a board, whose machine is a file. */
export async function startIpmiBoard(
  t: Test,
  user: string,
  password: string,
  { inside = (...words) => words, onPower }: IpmiBoardPlay = {},
): Promise<IpmiBoard> {
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
  const [program = "", ...words] = inside(
    "ipmi_sim",
    "-c",
    file("lan.conf"),
    "-f",
    file("board.emu"),
    "-s",
    file("state"),
    "-n",
  );
  const board = spawn(program, words, { stdio: "ignore" });
  const ended = new Promise((resolve) => board.once("exit", resolve));
  // It takes SIGTERM for an order to its machine.
  t.teardown(() => (board.kill("SIGKILL"), ended));
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = `/proc/${board.pid}/net/udp`;
  for (let round = 0; round < 500 && !readFileSync(sockets, "utf8").includes(local); round++) await sleep(10);
  const orders = () =>
    existsSync(file("orders")) ? readFileSync(file("orders"), "utf8").trim().split("\n") : [];
  if (onPower) followOrders(t, directory, orders, onPower);
  return {
    port,
    orders,
    set: (isOn) => writeFileSync(file("power"), isOn ? "1\n" : "0\n"),
  };
}

/** Hands each order on, once and in turn. */
function followOrders(
  t: Test,
  directory: string,
  orders: () => readonly string[],
  onPower: (isOn: boolean) => Promise<void>,
): void {
  let seen = 0;
  let done = Promise.resolve();
  const watcher = watch(directory, (_, name) => {
    if (name !== "orders") return;
    for (const order of orders().slice(seen)) {
      // The shell makes the file first, and writes into it then.
      const isOn = /^set power ([01])$/.exec(order)?.[1];
      if (isOn === undefined) return;
      seen++;
      done = done.then(() => onPower(isOn === "1"));
    }
  });
  t.teardown(() => {
    watcher.close();
    return done;
  });
}

/** It can't be told to take any free one. */
async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}
