/**
 * How a machine is handed to its local disk. `exit`: iPXE ends with an error, and firmware goes on in its boot order. `sanboot`: iPXE
 * starts the first disk itself. `http-404`: what firmware or iPXE asks for first is not there, so that it never runs a script of ours.
 */
export const localBootMethods = ["exit", "sanboot", "http-404"] as const;
export type LocalBootMethod = (typeof localBootMethods)[number];

/**
 * The first-stage program by the network driver that it uses: that of the firmware (`snponly` on UEFI, `undionly` on BIOS) or iPXE's own.
 * `shim` is the signed chain of UEFI (domain/uefi-loaders.ts), with the firmware's driver: the only one that Secure Boot lets start.
 */
export const drivers = ["snponly", "ipxe", "undionly", "shim"] as const;
export type Driver = (typeof drivers)[number];

/** `auto`: the first one of the architecture; another one for a machine that hung in it. */
export const driverChoices = ["auto", ...drivers] as const;
export type DriverChoice = (typeof driverChoices)[number];

/** `enforce`: a machine whose RAM is too little for its role is told so and boots nothing. `ignore`: it may try. */
export const ramChecks = ["enforce", "ignore"] as const;
export type RamCheck = (typeof ramChecks)[number];

/** What people chose for a machine or a group; undefined: it is left to the next in line. */
export interface BootPreferences {
  readonly localBoot: LocalBootMethod | undefined;
  readonly driver: DriverChoice | undefined;
  readonly ramCheck: RamCheck | undefined;
}

/** What a person changes of them. `undefined` leaves a choice as it is, `null` takes it away. */
export interface PreferencesInput {
  readonly localBoot?: LocalBootMethod | null | undefined;
  readonly driver?: DriverChoice | null | undefined;
  readonly ramCheck?: RamCheck | null | undefined;
}

export function withPreferences(
  before: BootPreferences,
  { localBoot, driver, ramCheck }: PreferencesInput,
): BootPreferences {
  return {
    localBoot: localBoot === undefined ? before.localBoot : (localBoot ?? undefined),
    driver: driver === undefined ? before.driver : (driver ?? undefined),
    ramCheck: ramCheck === undefined ? before.ramCheck : (ramCheck ?? undefined),
  };
}

export interface Preference<T> {
  readonly value: T;
  readonly source: "machine" | "group" | "role" | "config";
}

/**
 * The nearest choice: machine > group > role > config. A group is a room of the same machines, so it knows better than a role what
 * their firmware can do.
 */
export function preferLocalBoot(
  machine: Pick<BootPreferences, "localBoot"> | undefined,
  group: Pick<BootPreferences, "localBoot"> | undefined,
  role: LocalBootMethod | undefined,
  config: LocalBootMethod,
): Preference<LocalBootMethod> {
  if (machine?.localBoot) return { value: machine.localBoot, source: "machine" };
  if (group?.localBoot) return { value: group.localBoot, source: "group" };
  if (role) return { value: role, source: "role" };
  return { value: config, source: "config" };
}

/** The nearest choice: machine > group > config. The driver is chosen before any role is looked at. */
export function preferDriver(
  machine: Pick<BootPreferences, "driver"> | undefined,
  group: Pick<BootPreferences, "driver"> | undefined,
  config: DriverChoice,
): Preference<DriverChoice> {
  if (machine?.driver) return { value: machine.driver, source: "machine" };
  if (group?.driver) return { value: group.driver, source: "group" };
  return { value: config, source: "config" };
}

/** The nearest choice: machine > group; checked where nobody says otherwise. */
export function preferRamCheck(
  machine: Pick<BootPreferences, "ramCheck"> | undefined,
  group: Pick<BootPreferences, "ramCheck"> | undefined,
): RamCheck {
  return machine?.ramCheck ?? group?.ramCheck ?? "enforce";
}
