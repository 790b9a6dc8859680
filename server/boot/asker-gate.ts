import { BootNotOpen, MachineMismatch, MachineUnverified } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { AddressBook } from "./address-book.ts";
import { type AskerVerdict, judgeAsker, neighbourAt } from "./who-asks.ts";

export interface AskerGateDeps {
  readonly record: RecordEvent;
  readonly addresses: Pick<AddressBook, "macAt">;
  /** The kernel's neighbour table as text. */
  readonly readNeighbourTable: () => string;
}

/** Lets nobody have a machine's script who is not shown to be that machine: with the script goes the claim. */
export function createAskerGate({ record, addresses, readNeighbourTable }: AskerGateDeps) {
  function facts(address: Ipv4) {
    return {
      neighbour: neighbourAt(readNeighbourTable(), address),
      holder: addresses.macAt(address),
    };
  }

  return {
    /** Whose is this address now, as far as it can be shown: one of these MACs'? */
    judge: (address: string, macs: readonly Mac[]): AskerVerdict =>
      judgeAsker({ macs, ...facts(address as Ipv4) }),

    /** To be called before anything that the asker says is noted. @throws MachineMismatch, MachineUnverified */
    refuseStranger(machine: Machine | undefined, mac: Mac, address: Ipv4): void {
      const { neighbour, holder } = facts(address);
      const verdict = judgeAsker({ macs: machine?.macs ?? [mac], neighbour, holder });
      if (verdict === "verified") return;
      const asked = `${address} asked for the script of ${machine?.name ?? "an unknown machine"} (${mac})`;
      const isContradicted = verdict === "contradicted";
      record({
        type: isContradicted ? "mac.contradicted" : "mac.unverified",
        level: "alarm",
        machineId: machine?.id,
        message: isContradicted
          ? `${asked} and belongs to ${neighbour ?? holder}`
          : `${asked}, and nothing shows that it is this machine`,
        data: { address, mac, neighbour: neighbour ?? null },
      });
      throw isContradicted ? MachineMismatch({ mac, address }) : MachineUnverified({ mac, address });
    },
  };
}

export type AskerGate = ReturnType<typeof createAskerGate>;

/** What a stranger asks is no step of the machine's boot. */
export function isStranger(error: unknown): boolean {
  return MachineMismatch.is(error) || MachineUnverified.is(error) || BootNotOpen.is(error);
}
