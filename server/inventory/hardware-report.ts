import type { Disk, Hardware, Nic } from "../domain/hardware.ts";
import { parseLldpFrame } from "../net/lldp.ts";
import { isUnusableMac, parseMac } from "../net/mac.ts";

/** A report has so many of each at most; the rest is left out. */
const maximumDisks = 64;
const maximumNics = 16;
const textLimit = 120;

type Fields = Readonly<Record<string, unknown>>;

/**
 * What a machine says that is in it. Anybody with a claim can say anything, so what does not fit is left out and nothing of it is
 * believed: it is shown, and compared with what was said before. @returns undefined where it is no report at all
 */
export function readHardwareReport(body: unknown): Hardware | undefined {
  if (!isFields(body)) return undefined;
  const cpu = isFields(body["cpu"]) ? body["cpu"] : {};
  const kib = numberOf(body["ramKiB"], 1e12);
  return {
    cpu: { model: textOf(cpu["model"]), cores: numberOf(cpu["cores"], 65_536) },
    memoryBytes: kib === undefined ? undefined : kib * 1024,
    vendor: textOf(body["vendor"]),
    product: textOf(body["product"]),
    serial: textOf(body["serial"]),
    uuid: textOf(body["uuid"])?.toLowerCase(),
    disks: listOf(body["disks"], maximumDisks).flatMap(diskOf),
    nics: listOf(body["nics"], maximumNics).flatMap(nicOf),
  };
}

function diskOf(fields: Fields): Disk[] {
  const name = textOf(fields["name"]);
  // /sys/block/*/size counts sectors of 512 octets, whatever the disk's are.
  const sectors = numberOf(fields["sectors"], 1e13);
  if (name === undefined || sectors === undefined || sectors === 0) return [];
  return [
    {
      name,
      sizeBytes: sectors * 512,
      model: textOf(fields["model"]),
      serial: textOf(fields["serial"]),
      isRotating: flagOf(fields["rotational"]),
    },
  ];
}

function nicOf(fields: Fields): Nic[] {
  const name = textOf(fields["name"]);
  const mac = parseMac(textOf(fields["mac"]) ?? "");
  if (name === undefined || !mac || isUnusableMac(mac)) return [];
  const speed = numberOf(fields["speed"], 10_000_000);
  return [
    {
      name,
      mac,
      driver: textOf(fields["driver"]),
      hasLink: flagOf(fields["carrier"]),
      speedMbit: speed === 0 ? undefined : speed,
      neighbour: neighbourOf(fields["lldp"]),
    },
  ];
}

/** A frame as systemd-networkd keeps it, in base64: its length in eight octets before it (little-endian), then the frame. */
function neighbourOf(value: unknown) {
  if (typeof value !== "string" || value.length > 4096 || !/^[A-Za-z0-9+/]+=*$/.test(value)) return undefined;
  const octets = Uint8Array.from(atob(value.replaceAll("=", "").slice(0, 4 * 1024)), (one) =>
    one.charCodeAt(0),
  );
  if (octets.length < 8) return undefined;
  const length = Number(new DataView(octets.buffer).getBigUint64(0, true));
  return length > octets.length - 8 ? undefined : parseLldpFrame(octets.subarray(8, 8 + length));
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function listOf(value: unknown, limit: number): Fields[] {
  return Array.isArray(value) ? value.slice(0, limit).filter(isFields) : [];
}

function textOf(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  const clean = value
    .slice(0, 4 * textLimit)
    .replaceAll(/\p{C}/gu, "")
    .trim()
    .slice(0, textLimit);
  return clean === "" ? undefined : clean;
}

/** A whole number, also as digits: /sys has texts. */
function numberOf(value: unknown, limit: number): number | undefined {
  const number = typeof value === "string" && /^[0-9]{1,15}$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isSafeInteger(number) && number >= 0 && number <= limit
    ? number
    : undefined;
}

function flagOf(value: unknown): boolean | undefined {
  return value === "1" || value === 1 ? true : value === "0" || value === 0 ? false : undefined;
}
