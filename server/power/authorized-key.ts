/** What the server may have done by SSH, word for word. */
export const sshCommands = {
  reboot: "systemctl reboot",
  off: "systemctl poweroff",
  status: "systemctl is-system-running",
} as const;

/**
 * The line for a machine's authorized_keys: this key may do these three things and nothing else (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
 * The account needs root or sudo without a password; the words are those above, so that nothing in them needs a quote.
 * @param publicKey without options
 */
export function authorizedKey(publicKey: string): string {
  const words = Object.values(sshCommands)
    .map((command) => `'${command}'`)
    .join("|");
  const script = `case $SSH_ORIGINAL_COMMAND in ${words}) [ $(id -u) = 0 ] && exec $SSH_ORIGINAL_COMMAND; exec sudo -n $SSH_ORIGINAL_COMMAND;; esac; exit 126`;
  return `restrict,command="${script}" ${publicKey}`;
}
