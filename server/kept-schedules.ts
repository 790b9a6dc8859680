/** Assignments at times of day, on the clock of the configured time zone. */
import { createScheduling, type Scheduling, type SchedulingDeps } from "./inventory/schedules.ts";
import type { Store } from "./store/open-store.ts";

export type KeptSchedulesDeps = Omit<SchedulingDeps, "schedules" | "timeZone" | "switching"> & {
  readonly store: Pick<Store, "schedules">;
  /** `timezone`; undefined: that of the server's system. */
  readonly config: { readonly timezone?: string };
};

/** @param switching comes later than what it switches by */
export function keepSchedules(
  { store, config, ...deps }: KeptSchedulesDeps,
  switching: SchedulingDeps["switching"],
): Scheduling {
  const timeZone = config.timezone ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
  return createScheduling({ ...deps, schedules: store.schedules, switching, timeZone });
}
