import type { RoleFaultCode } from "../domain/reported-codes.ts";
import { DocumentFault } from "./document-fault.ts";

/** Commands that fail for no reason outside of the script. */
const certain = new Set(["echo", "set", "clear", "goto", "exit", "menu", "item", "colour", "color", "cpair"]);

/** What builds of iPXE know (https://ipxe.org/cmd); not each build has each of them. */
const known = new Set(
  (
    "autoboot boot certfree certstat certstore chain choose clear color colour config console cpair cpuid dhcp " +
    "digest echo exit fcels fcstat fdt form gdbstub goto help ibstat ifclose ifconf iflinkwait ifopen ifstat imgargs " +
    "imgdecrypt imgexec imgextract imgfetch imgfree imgload imgmem imgselect imgstat imgtrust imgverify inc initrd " +
    "ipstat iseq isset item iwlist iwstat kernel login lotest md5sum menu module neighbour nslookup nstat ntp param " +
    "params pciscan ping poweroff present profstat prompt pxebs read reboot route sanboot sanhook sanunhook set sha1sum " +
    "sha224sum sha256sum sha384sum sha512sum shell shim show sleep startpxe stoppxe sync time usbscan vcreate vdestroy"
  ).split(" "),
);

/** Each command of a line with its first word behind it; `||` and `&&` part them. */
const commandPattern = /(?:^|\s(?:\|\||&&)\s+)\s*(\S+)(?=\s+(\S+)|\s*$)/g;

/**
 * What would go wrong in an iPXE script and stands in it: jumps to labels that are not there, commands that no iPXE has, and lines
 * whose failure ends the script in silence (https://ipxe.org/scripting). Pure.
 */
export function scriptFaults(script: string): DocumentFault[] {
  const lines = script.split(/\r?\n/);
  const labels = new Set(lines.map((line) => /^\s*:(\S+)/.exec(line)?.[1]));
  return lines.flatMap((line, index) => {
    const text = line.trim();
    if (text === "" || text.startsWith("#") || text.startsWith(":")) return [];
    const fault = (code: RoleFaultCode, sentence: string, offset: number) =>
      new DocumentFault(code, sentence, { at: { line: index + 1, column: offset + 1 }, isRendered: true });
    const faults = [...line.matchAll(commandPattern)].flatMap((match) => {
      const [whole, command = "", first = ""] = match;
      const at = match.index + whole.length - command.length;
      if (command === "goto" && !first.includes("${") && !labels.has(first))
        return [fault("SCRIPT_INVALID", `goto ${first}: there is no label :${first}`, at)];
      if (known.has(command) || command.includes("${") || /^(\|\||&&)$/.test(command)) return [];
      return [fault("SCRIPT_COMMAND_UNKNOWN", `${command} is no command of iPXE`, at)];
    });
    const last = text.split(/\s\|\|(?:\s|$)/).at(-1) ?? "";
    if (last !== "" && !certain.has(last.split(/\s/)[0] ?? ""))
      faults.push(
        fault(
          "SCRIPT_LINE_UNGUARDED",
          "if this fails, the script ends here and nothing on the screen says so: add `|| goto failed` with a label :failed, or `||` where it does not matter",
          line.indexOf(text),
        ),
      );
    return faults;
  });
}
