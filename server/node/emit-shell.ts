import type { NodeSpec } from "./node-spec.ts";
import { nodeTree } from "./node-tree.ts";
import { accountCommands, directoryCommands, linkCommands, octal } from "./shell-text.ts";

/** A line that no text of ours has. */
const endOfText = "END-OF-THE-FILE-OF-THE-NODE";

/** As a script of POSIX sh for root: what is as it should be stays untouched, so that it can be run again. */
export function toShellScript(spec: NodeSpec): string {
  const tree = nodeTree(spec);
  const files = tree.files.map(({ path, owner, mode, text }) => {
    if (text.includes(endOfText))
      throw new Error(`${path} of a node's description ends a text of the script`);
    return `file ${octal(mode)} ${owner} ${path} <<'${endOfText}'\n${text}${endOfText}`;
  });
  return `#!/bin/sh
# Makes this system a rootless Kubernetes node: ${spec.role}, ${spec.family}. It can be run again.
set -eu
umask 022

# file MODE OWNER PATH <TEXT
file() {
	mkdir -p "$(dirname "$3")"
	new=$(mktemp "$3.XXXXXX")
	cat >"$new"
	if [ ! -L "$3" ] && cmp -s "$new" "$3"; then rm -f "$new"; else mv -f "$new" "$3"; fi
	chown "$2:$2" "$3"
	chmod "$1" "$3"
}

${accountCommands(spec).join("\n")}

${directoryCommands(tree).join("\n")}

${files.join("\n")}

${linkCommands(tree).join("\n")}

${tree.activation}
`;
}
