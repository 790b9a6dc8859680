import type { IgnitionConfig } from "./config.ts";
import { encodeContents } from "./data-url.ts";

export interface MachineFacts {
  readonly hostname: string;
  /** Where the machine tells that it is through; a secret of this boot. Undefined where the boot has no claim. */
  readonly joinedUrl: string | undefined;
  /** Configs apart from this one, each merged over those before it: where it is, and its SHA-512 in hex. */
  readonly parts: readonly { readonly url: string; readonly sha512: string }[];
  /** Where the address of this boot, a secret, is written for an agent. */
  readonly agent?: { readonly file: string; readonly url: string } | undefined;
}

const curlFile = "/etc/rollcall/ready.curl";

const hostKeyFile = "/etc/ssh/ssh_host_ed25519_key.pub";

/**
 * Waits for everything that the role starts; a server that is away for a while is asked again, for about ten minutes. The host's SSH key goes
 * with it, as cloud-init's phone_home sends it: the server restarts no machine by SSH whose key it was not told. Fedora CoreOS and Flatcar
 * make their keys in units of their own, and a machine without SSH has none to tell.
 */
const callbackUnit = `[Unit]
Description=Tell Rollcall that this machine is ready
Wants=network-online.target sshd-keygen.service sshd-keygen@ed25519.service
After=network-online.target multi-user.target sshd-keygen.service sshd-keygen@ed25519.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'if [ -r ${hostKeyFile} ]; then set -- --data-urlencode pub_key_ed25519@${hostKeyFile}; fi; exec /usr/bin/curl --config ${curlFile} "$$@"'

[Install]
WantedBy=multi-user.target
`;

/**
 * The config that a machine fetches first: what the server adds for this one machine, and references to the configs of node and role,
 * which are merged over it, so that the role has the last word. It is Ignition 3.0, which every Ignition 3 reads.
 * There is no machine-id in it: with one, systemd takes the boot for a later one and enables no units (machine-id(5), "First Boot").
 */
export function machinePart({ hostname, joinedUrl, parts, agent }: MachineFacts): IgnitionConfig {
  const merge = parts.length > 0 && {
    merge: parts.map(({ url, sha512 }) => ({ source: url, verification: { hash: `sha512-${sha512}` } })),
  };
  const written = (text: string) => {
    const { source } = encodeContents(new TextEncoder().encode(text), (bytes) => bytes, true);
    return { source };
  };
  const hostnameFile = {
    path: "/etc/hostname",
    mode: 0o644,
    overwrite: true,
    contents: written(`${hostname}\n`),
  };
  if (joinedUrl === undefined)
    return {
      ignition: { version: "3.0.0", ...(merge ? { config: merge } : {}) },
      storage: { files: [hostnameFile] },
    };
  // curl(1), --config: a quoted value knows \\ and \" only. The claim stays out of the unit, which everybody may read.
  const url = joinedUrl.replaceAll(/["\\]/g, (character) => `\\${character}`);
  const curlConfig = [
    `url = "${url}"`,
    'request = "POST"',
    'data = "source=ignition"',
    "silent",
    "show-error",
    "fail",
    "retry = 120",
    "retry-delay = 5",
    "retry-all-errors",
    "max-time = 30",
    "",
  ].join("\n");
  return {
    ignition: { version: "3.0.0", ...(merge ? { config: merge } : {}) },
    storage: {
      files: [
        hostnameFile,
        ...(agent
          ? [{ path: agent.file, mode: 0o600, overwrite: true, contents: written(`${agent.url}\n`) }]
          : []),
        { path: curlFile, mode: 0o600, overwrite: true, contents: written(curlConfig) },
      ],
    },
    systemd: { units: [{ name: "rollcall-ready.service", enabled: true, contents: callbackUnit }] },
  };
}
