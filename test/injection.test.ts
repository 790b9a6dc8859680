import { resolve } from "node:path";
import { isDeepStrictEqual as same } from "node:util";
import fc from "fast-check";
import t from "tap";
import { renderPlannedDocument } from "../server/boot/boot-plan.ts";
import type { Machine } from "../server/domain/machine.ts";
import type { Role } from "../server/domain/role.ts";
import { createRenderer, loadStandardTemplates } from "../server/render/documents.ts";
import { loadRoles } from "../server/render/load-roles.ts";
import { anyText, everyText } from "./support/hostile-texts.ts";

const renderer = createRenderer(loadStandardTemplates(resolve(import.meta.dirname, "../templates")));

/** Everything that a machine says of itself, wherever a role may print it. */
const butane = `variant: flatcar
version: 1.1.0
passwd:
  users:
    - name: {{yaml machine.name}}
      gecos: {{machine.name}}
      ssh_authorized_keys: [{{machine.name}}]
storage:
  files:
    - path: /etc/serial
      contents: { inline: {{machine.serial}} }
    - path: /etc/labels.json
      contents:
        inline: {{yaml (json machine.labels)}}
    - path: /etc/script.sh
      contents:
        inline: |
          set -- {{json machine.name}}
{{#if machine.labels.a}}
    - path: /etc/label
      contents: { inline: {{machine.labels.a}} }
{{/if}}
systemd:
  units:
    - name: lab.service
      contents: |
        [Service]
        ExecStart=/bin/lab --of={{uri machine.name}}
`;
const json = `{ "ignition": { "version": "3.3.0" },
  "passwd": { "users": [{ "name": {{machine.name}}, "gecos": {{json machine.name}} }] },
  "storage": { "files": [{ "path": "/etc/x-{{uri machine.name}}", "contents": { "source": "data:,{{uri machine.name}}" } }] } }
`;
const roleYaml = (kind: string) =>
  `description: d\nboot: image\nimage: i\narguments: ["a={{machine.name}}", "b={{machine.mac}}", "c={{uri machine.name}}"]\ntemplates: { ${kind}: f }\n`;

const machineOf = (text: string) =>
  ({
    name: text,
    macs: ["52:54:00:00:00:01"],
    uuid: text,
    serial: text,
    group: text,
    seat: text,
    address: text,
    labels: { a: text, [`k${text}`]: text },
  }) as unknown as Machine;

/** The structure of a value: its keys and the kinds of what they hold. */
function outline(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(outline);
  if (typeof value === "object" && value)
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, outline(one)]));
  return typeof value;
}

interface Config {
  passwd: { users: { name: string; gecos: string; sshAuthorizedKeys?: string[] }[] };
  storage: { files: { path: string; contents: { source: string; compression?: string } }[] };
  systemd?: { units: { contents: string }[] };
}

t.test("an Ignition config keeps its structure, and says what the machine says, whatever that is", (t) => {
  const { roles, problems } = loadRoles([
    t.testdir({
      butane: { "role.yaml": roleYaml("butane"), f: butane },
      json: { "role.yaml": roleYaml("ignition"), f: json },
    }),
  ]);
  t.same(problems, []);
  const render = (role: Role, text: string, kind: "ignition" | "ignition-role") =>
    JSON.parse(
      renderPlannedDocument(
        {
          machine: machineOf(text),
          plan: { kind: "role", role, params: {}, image: undefined },
          serverUrl: "http://10.0.0.1:8080",
          bootId: "b_1",
          claim: "c",
          pollSeconds: 5,
          localBoot: "exit",
        },
        kind,
        renderer,
      ) ?? "null",
    ) as Config;
  for (const role of roles.values()) {
    const plain = outline(render(role, "plain", "ignition-role"));
    const machinePart = outline(render(role, "plain", "ignition"));
    fc.assert(
      fc.property(
        // A name that is empty is no user.
        anyText.filter((text) => text.length > 0 && text.length < 1000),
        (text) => {
          const config = render(role, text, "ignition-role");
          const [user] = config.passwd.users;
          const unit = config.systemd?.units[0]?.contents ?? "[Service]\nExecStart=/bin/lab --of=\n";
          return (
            same(outline(config), plain) &&
            same(outline(render(role, text, "ignition")), machinePart) &&
            // Go reads half of a surrogate pair as U+FFFD.
            user?.name.toWellFormed() === text.toWellFormed() &&
            user.gecos.toWellFormed() === text.toWellFormed() &&
            /^\[Service\]\nExecStart=\/bin\/lab --of=\S*\n$/.test(unit)
          );
        },
      ),
      {
        ...everyText,
        numRuns: 150,
        examples: (everyText.examples ?? []).filter(([text]) => text.length > 0 && text.length < 1000),
      },
    );
  }
  t.pass("every text, in both");
  t.end();
});

t.test("a kernel argument is one word of iPXE's line, whatever the machine says", (t) => {
  const { roles } = loadRoles([t.testdir({ butane: { "role.yaml": roleYaml("butane"), f: butane } })]);
  const role = roles.get("butane");
  if (!role) throw new Error("no role");
  fc.assert(
    fc.property(anyText, (text) => {
      const words = renderer.kernelArguments(role, {
        machine: { ...machineOf(text), mac: "52:54:00:00:00:01" },
      } as unknown as Parameters<typeof renderer.kernelArguments>[1]);
      return words.length === 3 && words.every((word) => /^[abc]=[A-Za-z0-9._:/@=+,%~?&;-]*$/.test(word));
    }),
    everyText,
  );
  t.pass("every text");
  t.end();
});
