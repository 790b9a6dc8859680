import { type Family, familyTable } from "./families.ts";
import { adminUser, type NodePart, type NodeSpec, type SubordinateIds } from "./node-spec.ts";
import { publicText } from "./public-text.ts";

/** Of the user and its group: below what systems give away by themselves (they count down from 999 and up from 100). */
const adminId = 771;
export const adminHome = `/var/lib/${adminUser}`;
/** Images, and what of the node's state lies in the user namespace. */
export const stateDirectory = `${adminHome}/.local/share/usernetes`;

/** As podsec has them; 65536 is what a pod's own ids take (Kubernetes asks for no less). */
const subordinateIds: SubordinateIds = { user: adminUser, first: 231_072, count: 65_536 };

export function accounts(family: Family): Pick<NodeSpec, "groups" | "users" | "subordinateIds"> {
  const { groups } = familyTable[family];
  return {
    groups: [{ name: adminUser, gid: adminId }, ...groups.map((name) => ({ name, gid: undefined }))],
    users: [
      {
        name: adminUser,
        uid: adminId,
        groups,
        home: adminHome,
        shell: "/bin/sh",
        description: "Rootless Kubernetes",
      },
    ],
    subordinateIds: [subordinateIds],
  };
}

/** The user's home, and that its services start without a login. */
export function homePart(family: Family): NodePart {
  const owned = (path: string) => ({ path, owner: adminUser, mode: 0o700 }) as const;
  return {
    directories: [
      ...[
        adminHome,
        `${adminHome}/.config`,
        `${adminHome}/.config/usernetes`,
        `${adminHome}/.local`,
        `${adminHome}/.local/share`,
        stateDirectory,
        `${stateDirectory}/containers`,
      ].map(owned),
      { path: "/var/lib/systemd/linger", owner: "root", mode: 0o755 },
    ],
    files: [
      { path: `/var/lib/systemd/linger/${adminUser}`, owner: "root", mode: 0o644, text: publicText("") },
      {
        // systemd leaves cpuset and io out unless they are named.
        path: "/etc/systemd/system/user@.service.d/delegate.conf",
        owner: "root",
        mode: 0o644,
        text: publicText("[Service]\nDelegate=cpu cpuset io memory pids\n"),
      },
      {
        // Sockets, conmon and the state of running containers lie in /run/user, which has a tenth of the RAM by default.
        path: "/etc/systemd/logind.conf.d/u7s.conf",
        owner: "root",
        mode: 0o644,
        text: publicText("[Login]\nRuntimeDirectorySize=40%\n"),
      },
      {
        path: "/etc/systemd/journald.conf.d/u7s.conf",
        owner: "root",
        mode: 0o644,
        text: publicText("[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\n"),
      },
    ],
    links: [
      // podman and the node's runtime share their images.
      { path: `${adminHome}/.local/share/containers`, target: "usernetes/containers" },
      {
        path: `${adminHome}/.config/usernetes/env`,
        target: `${familyTable[family].configuration}/env`,
      },
    ],
  };
}
