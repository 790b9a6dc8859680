import { createHostList, type HostList } from "./listed-host.ts";

interface Token {
  readonly text: string;
  readonly line: number;
  readonly isString: boolean;
}

/** Deeper than any configuration that people write. */
const maximumDepth = 64;

/** Words, strings and `{ } ; ,` of a dhcpd.conf(5), comments left out. @returns undefined text at a string that is not closed */
function* tokensOf(text: string): Generator<Token> {
  const pattern = /[ \t\r\f\v]+|\n|#[^\n]*|"((?:[^"\\]|\\[\s\S])*)"|[{};,]|[^\s{};,"#]+|"/g;
  let line = 1;
  for (const { 0: found, 1: string } of text.matchAll(pattern)) {
    const begun = line;
    if (found === "\n") line++;
    else if (string !== undefined) {
      line += found.split("\n").length - 1;
      yield { text: string.replaceAll(/\\([\s\S])/g, "$1"), line: begun, isString: true };
    } else if (!/^[\s#]/.test(found)) yield { text: found, line: begun, isString: false };
  }
}

interface Host {
  readonly line: number;
  readonly declared: string;
  macs: string[];
  addresses: string[];
  name: string | undefined;
}

/** `host` declarations of an ISC dhcpd.conf, in groups, subnets and pools too; all else is counted and left out. */
export function readIscList(text: string): HostList {
  const list = createHostList();
  /** Blocks around the present token; a host's own, or undefined for any other. */
  const blocks: (Host | undefined)[] = [];
  let statement: Token[] = [];
  for (const token of tokensOf(text)) {
    if (list.isFull) return list;
    const mark = token.isString ? undefined : token.text;
    if (mark === '"') {
      list.problem(token.line, "a quote is not closed");
      return list;
    }
    if (mark === "{") open();
    else if (mark === "}") {
      if (!close(token.line)) return list;
    } else if (mark === ";") end();
    else statement.push(token);
    if (blocks.length > maximumDepth) {
      list.problem(token.line, `blocks stand more than ${maximumDepth} deep in each other`);
      return list;
    }
  }
  const left = blocks.findLast((block) => block !== undefined);
  if (blocks.length > 0)
    list.problem(left?.line ?? text.split("\n").length, "a block is not closed: a } is missing");
  else if (statement[0]) list.problem(statement[0].line, "the file ends inside a statement: a ; is missing");
  return list;

  function open(): void {
    const [word, name] = statement;
    const isHost = word?.text === "host" && !word.isString && name !== undefined && statement.length === 2;
    if (!isHost && word) list.ignore(word.text);
    blocks.push(
      isHost ? { line: word.line, declared: name.text, macs: [], addresses: [], name: undefined } : undefined,
    );
    statement = [];
  }

  /** @returns false where nothing is open */
  function close(line: number): boolean {
    const [begun] = statement;
    if (begun) list.problem(begun.line, "a ; is missing before the }");
    statement = [];
    if (blocks.length === 0) {
      list.problem(line, "a } closes nothing");
      return false;
    }
    const host = blocks.pop();
    if (host) told(host);
    return true;
  }

  function end(): void {
    const [first, second, third] = statement.filter(({ text, isString }) => isString || text !== ",");
    const host = blocks.at(-1);
    const words = `${first?.text ?? ""} ${second?.text ?? ""}`.toLowerCase();
    if (host && words === "hardware ethernet" && third) host.macs.push(third.text);
    else if (host && first?.text === "fixed-address")
      host.addresses.push(...statement.slice(1).flatMap(({ text }) => (text === "," ? [] : [text])));
    else if (host && words === "option host-name" && third) host.name = third.text;
    else if (first) list.ignore(first.text === "option" ? `option ${second?.text ?? ""}` : first.text);
    statement = [];
  }

  function told({ line, declared, macs, addresses, name }: Host): void {
    if (macs.length === 0) return list.ignore("hosts with no hardware ethernet");
    const numeric = addresses.filter((address) => /^[0-9]{1,3}(\.[0-9]{1,3}){3}$/.test(address));
    if (numeric.length < addresses.length) list.ignore("fixed-address that is a name");
    if (numeric.length > 1) list.ignore("further addresses of a host");
    list.host({
      line,
      name: name ?? declared,
      // dhcpd takes octets of one digit too.
      macs: macs.map((mac) =>
        mac
          .split(":")
          .map((octet) => octet.padStart(2, "0"))
          .join(":"),
      ),
      address: numeric[0],
    });
  }
}
