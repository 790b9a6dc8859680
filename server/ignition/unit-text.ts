/** Octets of a line that Ignition's reader of unit files takes (go-systemd: SYSTEMD_LINE_MAX). */
const maximumLineBytes = 2048;

/** What is wrong with the text of a systemd unit or drop-in (systemd.syntax(7)), or undefined. */
export function unitFault(text: string): string | undefined {
  let isContinued = false;
  let hasSection = false;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.replace(/\r$/, "");
    const at = `line ${index + 1} of the unit`;
    if (Buffer.byteLength(line) >= maximumLineBytes) return `${at} has ${maximumLineBytes} octets or more`;
    const isComment = /^\s*[#;]/.test(line);
    const follows = isContinued;
    isContinued = line.trimEnd().endsWith("\\");
    if (follows || isComment || line.trim() === "") continue;
    if (line.trimStart().startsWith("[")) {
      if (!/^\s*\[[^[\]]+\]\s*$/.test(line)) return `${at} is no section: ${line.trim().slice(0, 60)}`;
      hasSection = true;
    } else if (!hasSection) return `${at} stands before the first [Section]`;
    else if (!/^[^=]*\S[^=]*=/.test(line)) return `${at} is no Key=value: ${line.trim().slice(0, 60)}`;
  }
  return undefined;
}
