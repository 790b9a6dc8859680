/** How far a build is, read from what mmdebstrap prints. */
export interface BuildProgress {
  readonly step: string;
  readonly percent: number;
}

/** A step ends where the next one begins; the share is what it takes of the whole on a machine with two cores. */
const Steps = [
  { begins: /running apt-get update/, step: "reading package lists", from: 1 },
  { begins: /downloading packages with apt/, step: "downloading packages", from: 3 },
  { begins: /extracting archives/, step: "unpacking the base system", from: 4 },
  { begins: /installing essential packages/, step: "setting up the base system", from: 22 },
  { begins: /installing remaining packages/, step: "installing packages", from: 31 },
  { begins: /^rollcall: copying files/, step: "copying files", from: 67 },
  { begins: /^rollcall: building the initrd/, step: "building the initrd", from: 68 },
  { begins: /^rollcall: compiling Python/, step: "compiling Python modules", from: 76 },
  { begins: /cleaning package lists/, step: "cleaning up", from: 80 },
  { begins: /creating tarball/, step: "packing the root", from: 81 },
] as const;

const PackageSteps = { from: 32, to: 67 } as const;

/**
 * Follows the log of a build: given its lines in order, answers the progress after each one that changes it.
 * The percentage never goes back.
 */
export function createProgressReader(): (line: string) => BuildProgress | undefined {
  let current: BuildProgress = { step: "starting", percent: 0 };
  let expected = 0;
  let seen = 0;

  return (line) => {
    const started = Steps.find(({ begins }) => begins.test(line));
    if (started !== undefined && started.from > current.percent) {
      current = { step: started.step, percent: started.from };
      return current;
    }
    if (current.step !== "installing packages") return undefined;

    const announced = /(\d+) newly installed/.exec(line)?.[1];
    if (announced !== undefined) expected = Number(announced) * 2;
    if (expected === 0 || !/^(Unpacking|Setting up) /.test(line)) return undefined;
    seen = Math.min(seen + 1, expected);
    const percent = Math.floor(
      PackageSteps.from + ((PackageSteps.to - PackageSteps.from - 1) * seen) / expected,
    );
    if (percent <= current.percent) return undefined;
    current = { step: current.step, percent };
    return current;
  };
}
