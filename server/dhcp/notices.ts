import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { DhcpMode, Silence } from "./policy/decision.ts";
import type { DriverSwitch } from "./policy/switch-driver.ts";
import type { IgnoredOffers } from "./policy/ignored-offers.ts";
import type { StrategySwitch } from "./policy/switch-strategy.ts";
import { createRateLimitedLog } from "../domain/rate-limited-log.ts";
import { describeDriverSwitch, describeSwitch } from "./strategy-book.ts";

export interface NoticesDeps {
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly log: Log;
  readonly mode: DhcpMode;
  readonly record?: RecordEvent | undefined;
  /** The machine of a MAC, if it has a name already. */
  identify?(mac: Mac): { readonly id: string; readonly name: string } | undefined;
}

type Alarm = NonNullable<Silence["alarm"]>;

/** What the log says of a silence that someone should look into, and the event beside it. */
const alarms: Readonly<Record<Alarm, { message: string; event?: "dhcp.exhausted" | "dhcp.conflict" }>> = {
  "pool-exhausted": { message: "no free address in the subnet", event: "dhcp.exhausted" },
  "address-conflict": {
    message: "another host uses an address that was leased",
    event: "dhcp.conflict",
  },
  "no-boot-file": { message: "no boot file for this client" },
};
const warnIntervalMs: DurationMs = 60_000;
/** Another DHCP server is told of this often, and so is that there is none. */
const serverIntervalMs: DurationMs = 60 * 60_000;
/** Anybody can name any server: more than these are not told of. */
const maximumServers = 16;
/** Machines that ask so often for so long, and no other server shows itself: there is none. */
const askedInVain = { times: 3, forMs: 30_000 } as const;

/** What people are told: the log, and events for what concerns the network as a whole. Everything is rate limited. */
export function createNotices({ clock, log, mode, record, identify }: NoticesDeps) {
  const warnings = createRateLimitedLog(log, clock, warnIntervalMs);
  /** When each other server was last told of. */
  const servers = new Map<Ipv4, number>();
  let serverSeenMs: number | undefined;
  let noServerToldMs: number | undefined;
  let asked = { sinceMs: 0, times: 0 };

  const within = (sinceMs: number | undefined): boolean =>
    sinceMs !== undefined && clock.monotonicMs() - sinceMs < serverIntervalMs;

  return {
    /** A warning of the log only. @param message static, so that there are few kinds */
    warn: (fields: Record<string, unknown>, message: string): void => void warnings.warn(fields, message),

    alarm(alarm: Alarm, fields: { mac: Mac; reason: string } & Record<string, unknown>): void {
      const { message, event } = alarms[alarm];
      if (!warnings.warn(fields, message) || !event) return;
      const { mac, reason, address } = fields;
      const machine = identify?.(mac);
      const who = machine?.name ?? mac;
      record?.({
        type: event,
        level: "alarm",
        machineId: machine?.id,
        message:
          event === "dhcp.exhausted"
            ? `no address is free for ${who}: ${reason}`
            : `${who} declined ${String(address)}: another host uses it`,
        data: { mac, ...(address === undefined ? {} : { address }) },
      });
    },

    /** A host answered the probe of an address that nobody of ours has. */
    addressTaken(address: Ipv4, holder: Mac): void {
      if (
        !warnings.warn(
          { address, holder },
          "an address of the pool is in use by a host that was not given it",
        )
      )
        return;
      record?.({
        type: "dhcp.conflict",
        level: "warning",
        message: `${address} of the pool is used by ${holder}, which did not get it from here; it is left out`,
        data: { address, holder },
      });
    },

    strategySwitched(mac: Mac, change: StrategySwitch): void {
      const { from, to, rounds, forMs, furthest } = change;
      const machine = identify?.(mac);
      const because = describeSwitch(change);
      log.info({ mac, from, to, because }, "another boot strategy for a machine");
      record?.({
        type: "boot.strategy",
        level: change.isWrapped ? "warning" : "info",
        machineId: machine?.id,
        message: `${machine?.name ?? mac}: boot strategy ${from} -> ${to}: ${because}`,
        data: { mac, from, to, rounds, forMs: Math.round(forMs), furthest, because },
      });
    },

    driverSwitched(mac: Mac, change: DriverSwitch): void {
      const { from, to, hangs } = change;
      const machine = identify?.(mac);
      const because = describeDriverSwitch(change);
      log.info({ mac, from, to, because }, "another first-stage driver for a machine");
      record?.({
        type: "boot.driver",
        level: "warning",
        machineId: machine?.id,
        message: `${machine?.name ?? mac}: first-stage driver ${from} -> ${to}: ${because}`,
        data: { mac, from, to, hangs, because },
      });
    },

    /** @returns false while no other server is known to give addresses: then that is what is wrong, not the firmware */
    offersIgnored(mac: Mac, { rounds, firstMs, lastMs }: IgnoredOffers): boolean {
      if (!within(serverSeenMs)) return false;
      const machine = identify?.(mac);
      const server = [...servers.keys()].at(-1);
      const forMs = Math.round(lastMs - firstMs);
      log.warn(
        { mac, rounds, server },
        "a machine takes neither the address nor the boot file that it is offered",
      );
      record?.({
        type: "boot.offers-ignored",
        level: "warning",
        machineId: machine?.id,
        message: `${machine?.name ?? mac} asked ${rounds} times in ${Math.round(forMs / 1000)} s and took nothing, though ${server ?? "another server"} offers an address and this one a boot file: its firmware does not put two offers together. Let the server that gives the addresses name the boot file (boot config dhcp-snippet), or give the addresses here (dhcp.mode: authoritative)`,
        data: { mac, rounds, forMs, ...(server === undefined ? {} : { server }) },
      });
      return true;
    },

    /** Another DHCP server showed itself: a client named it, or it answered our probe. */
    otherServer(
      address: Ipv4,
      device: string | undefined,
      how: "chosen by a client" | "answered a probe",
    ): void {
      const nowMs = clock.monotonicMs();
      serverSeenMs = nowMs;
      if (within(servers.get(address))) return;
      if (servers.size >= maximumServers && !servers.has(address)) {
        for (const [known, toldMs] of servers) if (!within(toldMs)) servers.delete(known);
        if (servers.size >= maximumServers) return;
      }
      servers.set(address, nowMs);
      const isExpected = mode === "proxy";
      const fields = { server: address, device, how };
      if (isExpected) log.info(fields, "another DHCP server gives the addresses");
      else log.warn(fields, "another DHCP server is on this network");
      record?.({
        type: "dhcp.other-server",
        level: isExpected ? "info" : "alarm",
        message: isExpected
          ? `the DHCP server ${address} gives the addresses (${how})`
          : `another DHCP server, ${address}, is on ${device ?? "this network"} (${how}): machines may be sent elsewhere`,
        data: { server: address, device: device ?? null, how },
      });
    },

    /** Beside the proxy somebody has to give addresses. A client asked for one. */
    addressAsked(): void {
      if (mode !== "proxy" || within(serverSeenMs) || within(noServerToldMs)) return;
      const nowMs = clock.monotonicMs();
      if (asked.times === 0 || nowMs - asked.sinceMs > serverIntervalMs) asked = { sinceMs: nowMs, times: 0 };
      asked.times++;
      if (asked.times < askedInVain.times || nowMs - asked.sinceMs < askedInVain.forMs) return;
      const { times } = asked;
      asked = { sinceMs: nowMs, times: 0 };
      noServerToldMs = nowMs;
      log.warn({ times }, "no other DHCP server answers, and a proxy gives no addresses");
      record?.({
        type: "dhcp.no-server",
        level: "warning",
        message: `machines asked for an address ${times} times and no DHCP server gave one: in proxy mode another server has to`,
        data: { times },
      });
    },

    /** A client has an address that is not from us: somebody gives them. */
    addressSeen(): void {
      serverSeenMs = clock.monotonicMs();
      asked.times = 0;
    },
  };
}
export type Notices = ReturnType<typeof createNotices>;
