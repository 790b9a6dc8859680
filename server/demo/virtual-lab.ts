import { type ChildProcess, execFile, spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What the virtual lab needs of Debian, program by package. */
export const labPackages: Readonly<Record<string, string>> = {
  ip: "iproute2",
  "qemu-system-x86_64": "qemu-system-x86",
};

export type VirtualFirmware =
  | "bios"
  | "uefi"
  | "uefi-http"
  | "uefi-secure-boot"
  | "uefi-http-secure-boot"
  | "uefi-arm64"
  | "uefi-arm64-secure-boot"
  | "u-boot";

export interface VirtualMachineOptions {
  readonly name: string;
  readonly mac: string;
  readonly firmware: VirtualFirmware;
  readonly memoryMiB: number;
  /** The bridge that its network card is plugged into; default: the first. */
  readonly bridge?: string;
  /** What its network cable carries towards it, as tc writes it, e.g. 100mbit; default: no limit. */
  readonly lineRate?: string;
  /** File with the content of its disk, which the firmware tries after the network; default: no disk. */
  readonly disk?: string;
  /** What that disk is plugged into; default: virtio. */
  readonly diskBus?: "virtio" | "sata" | "nvme";
  /** Serial number that its board tells (SMBIOS); default: none. */
  readonly serial?: string;
  /** It has a graphics card, whose picture `screendump FILE` at this Unix socket (QEMU's monitor) takes; default: a serial port alone. */
  readonly monitor?: string;
  /** What appears on its screen, as it appears. */
  readonly onScreen?: (text: string) => void;
}

export interface VirtualMachine {
  readonly name: string;
  readonly mac: string;
  /** The lab's end of its network cable: what is sent there comes out of it as of a switch port. */
  readonly port: string;
  /** Everything that stood on its screen so far: firmware, iPXE, kernel and login prompt. */
  readonly screen: string;
  /** Resolves when the screen has shown the text. @throws when the machine ends before, or the time is up (default: 6 minutes) */
  waitForScreen(text: string | RegExp, limitMs?: number): Promise<void>;
  /** Types on its serial console, which firmware and loaders take for a keyboard. */
  type(text: string): void;
  /** Pulls the plug. */
  powerOff(): Promise<void>;
}

const ovmf = { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" };
/** With Microsoft's keys enrolled, and Secure Boot on. */
const secureOvmf = {
  code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
  variables: "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
};
/** Where Debian's packages put firmware for virtual machines: UEFI's code, and the variables that each machine gets a copy of. */
const uefiFiles = {
  uefi: ovmf,
  "uefi-http": ovmf,
  "uefi-secure-boot": secureOvmf,
  "uefi-http-secure-boot": secureOvmf,
  "uefi-arm64": { code: "/usr/share/AAVMF/AAVMF_CODE.fd", variables: "/usr/share/AAVMF/AAVMF_VARS.fd" },
  "uefi-arm64-secure-boot": {
    code: "/usr/share/AAVMF/AAVMF_CODE.ms.fd",
    variables: "/usr/share/AAVMF/AAVMF_VARS.ms.fd",
  },
} as const;
const ubootFile = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

const pc = ["qemu-system-x86_64", "-machine", "q35,graphics=off", "-cpu", "max"];
/** Its variables can be written in system management mode only, so that nothing but the firmware changes its keys. */
const securePc = [
  "qemu-system-x86_64",
  "-machine",
  "q35,graphics=off,smm=on",
  "-global",
  "driver=cfi.pflash01,property=secure,value=on",
  "-cpu",
  "max",
];

// Not `max`: it signs its pointers, and emulating that makes UEFI several times slower.
const arm64 = ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57"];

const hardware: Readonly<Record<VirtualFirmware, readonly string[]>> = {
  bios: pc,
  uefi: pc,
  "uefi-http": pc,
  "uefi-secure-boot": securePc,
  "uefi-http-secure-boot": securePc,
  "uefi-arm64": arm64,
  "uefi-arm64-secure-boot": arm64,
  "u-boot": arm64,
};

const diskDevices = { virtio: "virtio-blk-pci", sata: "ide-hd,bus=ide.0", nvme: "nvme" } as const;

/** Escape sequences of serial consoles: colours, cursor moves, screen clearing. */
const escapeSequence = /\u001b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>c78])/g;

/**
 * A network of its own inside this machine: a network namespace with bridges, and diskless QEMU machines plugged into them.
 * Nothing in it reaches the networks of the host. Needs root.
 */
export async function createVirtualLab(namespace: string) {
  const work = mkdtempSync(join(tmpdir(), `${namespace}-`));
  const machines = new Set<VirtualMachine>();
  const bridges: string[] = [];
  const hosts: string[] = [];
  const uplinks: string[] = [];
  let taps = 0;
  const ip = (...words: string[]) => run("ip", words);
  await ip("netns", "add", namespace);
  await ip("-n", namespace, "link", "set", "lo", "up");

  return {
    namespace,
    /** Scratch directory of the lab; gone with it. */
    directory: work,

    /** @param address of the lab's own end, with prefix length, e.g. 10.77.0.1/24; none for a bridge that the server only listens on */
    async addBridge(name: string, address?: string): Promise<void> {
      await ip("-n", namespace, "link", "add", name, "type", "bridge", "forward_delay", "0");
      await ip("-n", namespace, "link", "set", name, "up");
      if (address !== undefined) await ip("-n", namespace, "address", "add", address, "dev", name);
      bridges.push(name);
    },

    /** A cable from the host into the lab, so that a browser on the host reaches the server. @returns the lab's end of it */
    async addUplink(device: string): Promise<string> {
      // 198.18.0.0/15 is set aside for tests of network devices (RFC 2544), so no real network has it.
      await ip("link", "add", device, "type", "veth", "peer", "name", "uplink", "netns", namespace);
      uplinks.push(device);
      await ip("address", "add", "198.18.99.1/30", "dev", device);
      await ip("link", "set", device, "up");
      await ip("-n", namespace, "address", "add", "198.18.99.2/30", "dev", "uplink");
      await ip("-n", namespace, "link", "set", "uplink", "up");
      return "198.18.99.2";
    },

    /** Words that run a program inside the lab, to be spawned. */
    inside: (...words: string[]): string[] => ["ip", "netns", "exec", namespace, ...words],

    spawn(words: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string } = {}): ChildProcess {
      return spawn("ip", ["netns", "exec", namespace, ...words], {
        stdio: ["ignore", "pipe", "pipe"],
        ...options,
      });
    },

    /** Runs a program inside to its end. @throws when it fails */
    run: (program: string, ...words: string[]) =>
      run("ip", ["netns", "exec", namespace, program, ...words], { maxBuffer: 64 * 1024 * 1024 }),

    /** The same in the namespace of a host that {@link addHost} made. */
    execIn: (host: string, program: string, ...words: string[]) =>
      run("ip", ["netns", "exec", host, program, ...words]),

    /** A second end of a bridge, e.g. for another DHCP server or a client: a veth in a namespace of its own. @returns its namespace */
    async addHost(name: string, bridge: string, mac: string, address?: string): Promise<string> {
      const inner = `${namespace}-${name}`;
      await ip("netns", "add", inner);
      hosts.push(inner);
      await ip("-n", inner, "link", "set", "lo", "up");
      await ip(
        "-n",
        inner,
        "link",
        "add",
        "eth0",
        "address",
        mac,
        "type",
        "veth",
        "peer",
        "name",
        `v-${name}`,
        "netns",
        namespace,
      );
      await ip("-n", namespace, "link", "set", `v-${name}`, "master", bridge, "up");
      await ip("-n", inner, "link", "set", "eth0", "up");
      if (address !== undefined) await ip("-n", inner, "address", "add", address, "dev", "eth0");
      return inner;
    },

    /** Plugs a machine in and switches it on. */
    async powerOn(options: VirtualMachineOptions): Promise<VirtualMachine> {
      const tap = `tap${taps++}`;
      await ip("-n", namespace, "tuntap", "add", "dev", tap, "mode", "tap");
      await ip("-n", namespace, "link", "set", tap, "master", options.bridge ?? bridges[0] ?? "", "up");
      if (options.lineRate !== undefined) {
        const shape = ["tbf", "rate", options.lineRate, "burst", "256kb", "latency", "100ms"];
        await run("tc", ["-n", namespace, "qdisc", "add", "dev", tap, "root", ...shape]);
      }
      const process = spawn("ip", ["netns", "exec", namespace, ...qemuWords(options, tap, work)], {
        stdio: ["pipe", "pipe", "pipe"],
      });
      const machine = watchMachine(process, options, tap);
      machines.add(machine);
      return machine;
    },

    async close(): Promise<void> {
      await Promise.all([...machines].map((machine) => machine.powerOff()));
      // The kernel takes a deleted namespace's cables away some time later, and not at all while a process is in it.
      for (const device of uplinks) await ip("link", "delete", device).catch(() => undefined);
      for (const host of hosts) await ip("netns", "delete", host).catch(() => undefined);
      await ip("netns", "delete", namespace).catch(() => undefined);
      rmSync(work, { recursive: true, force: true });
    },
  };
}
export type VirtualLab = Awaited<ReturnType<typeof createVirtualLab>>;

/** The command line of one machine: emulated (TCG), so it runs the same everywhere. */
export function qemuWords(
  { name, mac, firmware, memoryMiB, disk, diskBus = "virtio", serial, monitor }: VirtualMachineOptions,
  tap: string,
  work: string,
): string[] {
  const words = [
    ...hardware[firmware],
    "-name",
    name,
    "-accel",
    "tcg,thread=multi",
    "-smp",
    "2",
    "-m",
    String(memoryMiB),
    "-display",
    "none",
    "-monitor",
    ...(monitor === undefined ? ["none"] : [`unix:${monitor},server,nowait`, "-vga", "std"]),
    "-serial",
    "stdio",
    "-no-user-config",
    "-nodefaults",
    "-netdev",
    `tap,id=net0,ifname=${tap},script=no,downscript=no`,
    ...(disk === undefined
      ? []
      : [
          "-drive",
          `if=none,id=disk0,format=raw,file=${disk}`,
          "-device",
          `${diskDevices[diskBus]},drive=disk0,serial=${name}-disk,bootindex=1`,
        ]),
    ...(serial === undefined ? [] : ["-smbios", `type=1,serial=${serial}`]),
  ];
  // U-Boot 2023.01 reads the first octet of a virtio card's MAC six times over.
  const model = firmware === "u-boot" ? "e1000" : "virtio-net-pci";
  const card = `${model},netdev=net0,mac=${mac},bootindex=0`;
  if (firmware === "bios") return [...words, "-device", card];
  // No option ROM: the firmware's own network stack loads the first stage, not QEMU's built-in iPXE.
  words.push("-device", `${card},romfile=`);
  if (firmware === "u-boot") return [...words, "-bios", ubootFile];
  // It would try PXE first, for half a minute where nobody answers.
  if (firmware.startsWith("uefi-http"))
    for (const version of ["4", "6"])
      words.push("-fw_cfg", `name=opt/org.tianocore/IPv${version}PXESupport,string=n`);
  const { code, variables: template } = uefiFiles[firmware];
  const variables = join(work, `${name}-vars.fd`);
  copyFileSync(template, variables);
  return [
    ...words,
    "-drive",
    `if=pflash,format=raw,unit=0,readonly=on,file=${code}`,
    "-drive",
    `if=pflash,format=raw,unit=1,file=${variables}`,
  ];
}

/** Emulated machines are slow; this is the limit for what a screen is waited for, not an expectation. */
const screenLimitMs = 6 * 60_000;

function watchMachine(
  process: ChildProcess,
  { name, mac, onScreen }: VirtualMachineOptions,
  port: string,
): VirtualMachine {
  let screen = "";
  let ended: string | undefined;
  const waiting = new Set<() => void>();
  const look = () => {
    for (const check of waiting) check();
  };
  const show = (chunk: Buffer) => {
    const text = chunk.toString("latin1").replaceAll(escapeSequence, "").replaceAll("\r", "");
    screen += text;
    onScreen?.(text);
    look();
  };
  process.stdout?.on("data", show);
  process.stderr?.on("data", show);
  // Typed to a machine that has just ended.
  process.stdin?.on("error", () => undefined);
  const exited = new Promise<void>((resolve) => {
    process.once("exit", (code, signal) => {
      ended = `${name} ended (${signal ?? code})`;
      look();
      resolve();
    });
  });
  return {
    name,
    mac,
    port,
    get screen() {
      return screen;
    },
    waitForScreen: (text, limitMs = screenLimitMs) =>
      new Promise((resolve, reject) => {
        const settle = (problem?: string) => {
          waiting.delete(check);
          clearTimeout(limit);
          if (problem === undefined) resolve();
          else
            reject(
              new Error(
                `${problem} before its screen showed ${String(text)}; it showed:\n${screen.slice(-2000)}`,
              ),
            );
        };
        const check = () => {
          if (typeof text === "string" ? screen.includes(text) : text.test(screen)) settle();
          else if (ended) settle(ended);
        };
        const limit = setTimeout(() => settle(`${name} took ${limitMs / 1000} s`), limitMs);
        waiting.add(check);
        check();
      }),
    type: (text) => void process.stdin?.write(text),
    async powerOff() {
      process.kill("SIGKILL");
      await exited;
    },
  };
}
