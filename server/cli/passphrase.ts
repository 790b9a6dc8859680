/**
 * Asks on the terminal for a key's passphrase, and shows nothing of it.
 * @returns empty for a key without one, and where nobody can be asked
 */
export async function askPassphrase(key: string, what = "Passphrase"): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) return "";
  stderr.write(`${what} of ${key} (empty: it has none): `);
  stdin.setRawMode(true);
  let typed = "";
  try {
    for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
      for (const character of (chunk as Buffer).toString("utf8")) {
        if (character === "\r" || character === "\n") return typed;
        // Ctrl-C and Ctrl-D mean what they do everywhere.
        if (character === "\u0003" || character === "\u0004") process.exit(130);
        typed =
          character === "\u007f" || character === "\b"
            ? Array.from(typed).slice(0, -1).join("")
            : typed + character;
      }
    }
    return typed;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}
