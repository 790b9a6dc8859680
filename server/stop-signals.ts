/** A person who presses Ctrl-C again after this time means it: the end need not be clean any more, ms. */
const patienceMs = 1000;
/** SIGTERM ends within this time, whatever hangs (contract: 10 s), ms. */
const stopLimitMs = 9000;
/** As a shell reports a program that SIGINT ended. */
const exitInterrupted = 130;

/** What the signals need of the process; played by hand in tests. */
export interface SignalProcess {
  on(signal: "SIGTERM" | "SIGINT" | "SIGHUP", listener: () => void): unknown;
  exit(code: number): void;
}

/**
 * Calls `stop` once, at the first SIGTERM, SIGINT or SIGHUP. One Ctrl-C arrives several times: the terminal sends it to the server, and
 * npm and the launcher pass theirs on to it; those change nothing.
 * @returns the exit code, when `stop` is through
 */
export function stopOnSignals(
  process: SignalProcess,
  stop: () => Promise<void>,
  onFailure: (error: unknown) => void,
): Promise<number> {
  return new Promise((resolve) => {
    let stoppingSince: number | undefined;
    const begin = () => {
      if (stoppingSince !== undefined) return;
      stoppingSince = performance.now();
      setTimeout(() => process.exit(0), stopLimitMs).unref();
      stop().then(
        () => resolve(0),
        (error: unknown) => {
          onFailure(error);
          resolve(1);
        },
      );
    };
    process.on("SIGTERM", begin);
    process.on("SIGHUP", begin);
    process.on("SIGINT", () => {
      if (stoppingSince !== undefined && performance.now() - stoppingSince > patienceMs)
        process.exit(exitInterrupted);
      begin();
    });
  });
}
