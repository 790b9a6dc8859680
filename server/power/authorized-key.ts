import type { SshCommands } from "../domain/role.ts";

/** What the server may have done by SSH, word for word. */
export const sshCommands = {
  reboot: "systemctl reboot",
  off: "systemctl poweroff",
  status: "systemctl is-system-running",
} as const;

/** Without IFS and patterns the command stays one word, so that nothing in this line needs a quote. */
const anyCommand = "?*) set -f; IFS=; exec /bin/sh -c $SSH_ORIGINAL_COMMAND;; ";

/**
 * The line for a machine's authorized_keys: this key may do these three things and nothing else (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), or,
 * where the role says so, run a command as that account: without a terminal, an agent or a forwarding in both cases.
 * The account needs root or sudo without a password for the three; they are the words above, so that nothing in them needs a quote.
 * @param publicKey without options
 */
export function authorizedKey(publicKey: string, commands: SshCommands = "orders"): string {
  const words = Object.values(sshCommands)
    .map((command) => `'${command}'`)
    .join("|");
  const rest = commands === "any" ? anyCommand : "";
  const script = `case $SSH_ORIGINAL_COMMAND in ${words}) [ $(id -u) = 0 ] && exec $SSH_ORIGINAL_COMMAND; exec sudo -n $SSH_ORIGINAL_COMMAND;; ${rest}esac; exit 126`;
  return `restrict,command="${script}" ${publicKey}`;
}
