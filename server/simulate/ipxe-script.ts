/** iPXE scripts as far as boot servers write them (https://ipxe.org/scripting). Pure: what a script wants done it yields. */

export type Effect =
  | { readonly kind: "load"; readonly what: "kernel" | "initrd" | "file"; readonly url: string }
  /** When it succeeds this script is over: `chain` is taken as `chain --replace`. */
  | { readonly kind: "chain"; readonly url: string }
  | { readonly kind: "sleep"; readonly seconds: number }
  /** When one of these works, the script is over. */
  | { readonly kind: "boot" | "sanboot" | "reboot" }
  | { readonly kind: "dhcp" };

export type Ending =
  | { readonly kind: "boot"; readonly commandLine: string }
  /** The local disk was started by `sanboot`, or the machine starts anew. */
  | { readonly kind: "sanboot" | "reboot" }
  /** Status 0 or 1 of `exit`: the firmware goes on. */
  | { readonly kind: "exit"; readonly status: number }
  | { readonly kind: "error"; readonly reason: string };

/** What it printed is kept so long: the last lines tell why a machine got no further. */
const keptLines = 8;
/** A script that runs so many lines without waiting for anything is in a loop. */
const maximumSteps = 10_000;

/** Commands that change nothing here and succeed. */
const harmless = new Set(
  (
    "imgfree imgstat imgtrust imgargs ifopen ifclose ifstat iflinkwait route nstat " +
    "console colour color cpair param params show ntp time cpuid sync"
  ).split(" "),
);

type Status = boolean | "over";

export class IpxeScript {
  /** The last lines on the screen. */
  readonly screen: string[] = [];
  readonly #lines: readonly string[];
  readonly #labels = new Map<string, number>();
  /** What is set when it ends is still set in the script that it chained to. */
  readonly settings: Map<string, string>;
  readonly #missing: ReadonlySet<string>;
  /** Names of the items of the menu that is being made. */
  #items: string[] = [];
  #at = 0;
  #kernelArguments = "";
  #ending: Ending | undefined;

  /** @param settings as `${uuid}`, `${netX/mac}`, `${net0/ip}` @param missing commands that this build of iPXE does not have */
  constructor(text: string, settings: ReadonlyMap<string, string>, missing: ReadonlySet<string> = new Set()) {
    this.#lines = text.split(/\r?\n/);
    this.settings = new Map(settings);
    this.#missing = missing;
    this.#lines.forEach((line, index) => {
      const label = /^:(\S+)/.exec(line.trim())?.[1];
      if (label !== undefined) this.#labels.set(label, index);
    });
  }

  /** Yields what is to be done; gets back whether that worked. */
  *run(): Generator<Effect, Ending, boolean> {
    if (!this.#lines[0]?.startsWith("#!ipxe"))
      return { kind: "error", reason: "it does not begin with #!ipxe" };
    let steps = 0;
    while (!this.#ending) {
      const line = this.#lines[this.#at++]?.trim();
      if (line === undefined) return { kind: "exit", status: 0 };
      if (steps++ > maximumSteps) return { kind: "error", reason: "it goes in circles without waiting" };
      if (line === "" || line.startsWith("#") || line.startsWith(":")) continue;
      const status = yield* this.#runLine(line, () => (steps = 0));
      // A line that fails and has no `||` ends the script (ipxe.org/scripting).
      if (status === false) return { kind: "error", reason: `this line failed: ${line.slice(0, 200)}` };
    }
    return this.#ending;
  }

  *#runLine(line: string, waited: () => void): Generator<Effect, Status, boolean> {
    let status: Status = true;
    let operator = "";
    for (const part of line.split(/\s(\|\||&&)(?=\s|$)/)) {
      if (part === "||" || part === "&&") {
        operator = part;
        continue;
      }
      if ((operator === "||" && status) || (operator === "&&" && !status)) continue;
      status = yield* this.#runCommand(words(part.trim()), waited);
      if (status === "over") return status;
    }
    return status;
  }

  *#runCommand(raw: readonly string[], waited: () => void): Generator<Effect, Status, boolean> {
    const [command = "", ...rest] = raw.map((word) => this.#expand(word));
    const { options, operands } = parseOptions(rest);
    const [first = ""] = operands;
    if (this.#missing.has(command)) return this.#notFound(command);
    switch (command) {
      case "":
        return true;
      case "echo":
        this.#print(rest.filter((word) => word !== "-n").join(" "));
        return true;
      case "sleep":
      case "prompt": {
        waited();
        const seconds = command === "sleep" ? Number(first) : Number(options.get("timeout") ?? 0) / 1000;
        yield { kind: "sleep", seconds: Number.isFinite(seconds) ? seconds : 0 };
        // Nobody presses a key.
        return command === "sleep";
      }
      case "goto":
        return this.#goto(first);
      case "set":
        if (operands.length === 0) return false;
        this.settings.set(plainName(first), operands.slice(1).join(" "));
        return true;
      case "clear":
        this.settings.delete(plainName(first));
        return true;
      case "isset":
        return first !== "";
      case "iseq":
        return first === (operands[1] ?? "");
      case "inc":
        this.settings.set(
          plainName(first),
          String(Number(this.settings.get(plainName(first)) ?? 0) + Number(operands[1] ?? 1)),
        );
        return true;
      case "menu":
        this.#items = [];
        this.#print(operands.join(" "));
        return true;
      case "item":
        if (first !== "") this.#items.push(first);
        this.#print(operands.slice(1).join(" "));
        return true;
      case "choose": {
        waited();
        yield { kind: "sleep", seconds: Number(options.get("timeout") ?? 0) / 1000 };
        // Nobody presses a key, so the highlighted item is taken.
        const chosen = options.get("default") ?? this.#items[0];
        if (chosen === undefined || !this.#items.includes(chosen)) return false;
        this.settings.set(plainName(first), chosen);
        return true;
      }
      case "dhcp":
      case "ifconf":
        waited();
        return yield { kind: "dhcp" };
      case "chain":
      case "imgexec": {
        waited();
        const isLoaded: boolean = yield { kind: "chain", url: first };
        if (isLoaded) this.#ending = { kind: "exit", status: 0 };
        return isLoaded ? "over" : false;
      }
      case "kernel":
      case "imgselect":
        waited();
        this.#kernelArguments = operands.slice(1).join(" ");
        return yield { kind: "load", what: "kernel", url: first };
      case "initrd":
      case "module":
        waited();
        return yield { kind: "load", what: "initrd", url: first };
      case "imgfetch":
      case "imgverify":
        waited();
        return yield { kind: "load", what: "file", url: first };
      case "boot": {
        waited();
        const isRunning: boolean = yield { kind: "boot" };
        return isRunning && this.#end({ kind: "boot", commandLine: this.#kernelArguments });
      }
      case "exit":
        return this.#end({ kind: "exit", status: Number(first || 0) });
      case "sanboot":
      case "reboot": {
        waited();
        const isDone: boolean = yield { kind: command };
        return isDone && this.#end({ kind: command });
      }
      case "poweroff":
        return this.#end({ kind: "exit", status: 0 });
      default:
        if (harmless.has(command)) return true;
        return this.#notFound(command);
    }
  }

  #notFound(command: string): false {
    this.#print(`${command}: command not found`);
    return false;
  }

  #end(ending: Ending): Status {
    this.#ending = ending;
    return "over";
  }

  #goto(label: string): Status {
    const line = this.#labels.get(label);
    if (line === undefined) return false;
    this.#at = line + 1;
    return "over";
  }

  #print(text: string): void {
    this.screen.push(text);
    if (this.screen.length > keptLines) this.screen.shift();
  }

  /** `${name}` and `${name:type}`; a name that is not set is nothing. */
  #expand(word: string): string {
    return word.replaceAll(/\$\{([^}:]*)(?::([a-z]+))?\}/g, (_, name: string, type?: string) => {
      const value = this.settings.get(name.replace(/^net0\//, "netX/")) ?? this.settings.get(name) ?? "";
      if (type === "hexhyp") return value.replaceAll(":", "-");
      if (type === "hexraw") return value.replaceAll(":", "");
      return type === "uristring" ? encodeURIComponent(value) : value;
    });
  }
}

/** `name:type` is set as `name`. */
function plainName(name: string): string {
  return name.replace(/:[a-z0-9]+$/, "");
}

/** Words of a line; quotes hold words together, a backslash takes the next character as it is. */
function words(text: string): string[] {
  return Array.from(text.matchAll(/(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|\S)+/g), ([word]) =>
    word.replaceAll(
      /"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g,
      (_, double?: string, single?: string, escaped?: string) =>
        (double ?? single ?? escaped ?? "").replaceAll(/\\(.)/g, "$1"),
    ),
  );
}

const withValue = new Set([
  "name",
  "timeout",
  "key",
  "default",
  "signer",
  "cacert",
  "width",
  "height",
  "picture",
]);

/** Options stand before the operands; what follows the first operand belongs to it (`kernel URL --word`). */
function parseOptions(rest: readonly string[]): { options: Map<string, string>; operands: string[] } {
  const options = new Map<string, string>();
  let at = 0;
  for (; at < rest.length; at++) {
    const option = /^--([a-z-]+)(?:=(.*))?$/.exec(rest[at] ?? "");
    if (!option) break;
    const [, name = "", value] = option;
    options.set(name, value ?? (withValue.has(name) ? (rest[++at] ?? "") : ""));
  }
  return { options, operands: rest.slice(at) };
}
