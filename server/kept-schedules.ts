/** Assignments at times of day, on the clock that this server's own time zone shows. */
import { offsetsOf } from "./domain/schedule.ts";
import { createScheduling, type Scheduling, type SchedulingDeps } from "./inventory/schedules.ts";
import type { Store } from "./store/open-store.ts";

export type KeptSchedulesDeps = Omit<SchedulingDeps, "schedules" | "offsetAt"> & {
  readonly store: Pick<Store, "schedules">;
};

export function keepSchedules({ store, ...deps }: KeptSchedulesDeps): Scheduling {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  return createScheduling({ ...deps, schedules: store.schedules, offsetAt: offsetsOf(timeZone) });
}
