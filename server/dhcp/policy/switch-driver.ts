import type { Driver } from "../../domain/boot-preferences.ts";
import type { FirstStageProgress } from "../../domain/contact.ts";

/** What became of the first-stage program that a machine was given. */
export interface DriverTrial {
  readonly driver: Driver;
  /** What there is for its architecture, in the order of preference. */
  readonly alternatives: readonly Driver[];
  /** It has the whole program, and nothing was heard of that program yet. */
  readonly isLoaded: boolean;
  /** So often in a row its firmware came back before the program was heard of. */
  readonly hangs: number;
}

/** Once may be a hand at the power switch in the very seconds in which iPXE starts. */
export const hangsToSwitch = 2;

export interface DriverSwitch {
  readonly from: Driver;
  readonly to: Driver;
  readonly hangs: number;
  /** All alternatives were tried; it begins again with the first. */
  readonly isWrapped: boolean;
}

/** The trial after the firmware was told of a program. */
export function offerDriver(
  trial: DriverTrial | undefined,
  driver: Driver,
  alternatives: readonly Driver[],
): DriverTrial {
  return trial?.driver === driver
    ? { ...trial, alternatives }
    : { driver, alternatives, isLoaded: false, hangs: 0 };
}

/** The trial after the machine loaded the program, or the program was heard of: then this driver works. */
export function noteProgress(trial: DriverTrial, progress: FirstStageProgress): DriverTrial {
  if (progress === "loading") return trial;
  return progress === "loaded" ? { ...trial, isLoaded: true } : { ...trial, isLoaded: false, hangs: 0 };
}

/**
 * The firmware asks for an address: it is switched on, or back. A program that it had loaded and that was never heard of hung, or ended
 * before its first packet. However long ago: a machine that hangs stands until somebody resets it. Pure.
 */
export function firmwareIsBack(trial: DriverTrial): { trial: DriverTrial; change: DriverSwitch | undefined } {
  if (!trial.isLoaded) return { trial, change: undefined };
  const { driver, alternatives } = trial;
  const hangs = trial.hangs + 1;
  const next = (alternatives.indexOf(driver) + 1) % (alternatives.length || 1);
  const to = alternatives[next];
  const change =
    hangs < hangsToSwitch || to === undefined || to === driver
      ? undefined
      : { from: driver, to, hangs, isWrapped: next === 0 };
  return { trial: { ...trial, isLoaded: false, hangs }, change };
}
