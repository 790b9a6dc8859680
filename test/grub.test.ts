import { connect } from "node:net";
import t from "tap";
import { RoleNotFound } from "../server/domain/error-catalogue.ts";
import { grubWord } from "../server/render/quoting.ts";
import { startServer, type TestServer } from "./support/http-fixture.ts";
import { addressOf, macOf } from "./support/samples.ts";
import { createBootLab } from "./support/boot-lab.ts";

/** What GRUB reads: without the padding. */
const textOf = ({ text }: { text: string }) => text.trimEnd();

async function prepared(
  t: Parameters<typeof startServer>[0],
  options: Parameters<typeof startServer>[1] = {},
) {
  const server = await startServer(t, options);
  const image = await server.addImage();
  await server.add(1, "s1");
  return { server, image };
}
const secureBootOf = async (server: TestServer, name: string) =>
  (await server.api("GET", `/machines/${name}`)).json["secureBoot"] as unknown;

t.test("a value is one word to GRUB, which expands nothing in it and ends no command at `;` (Q38)", (t) => {
  t.equal(grubWord("ds=nocloud-net;s=http://10.0.0.1/x/"), "'ds=nocloud-net;s=http://10.0.0.1/x/'");
  t.equal(grubWord("a'; reboot #"), "'a_; reboot #'");
  t.equal(grubWord("$prefix {x} \\"), "'$prefix {x} \\'");
  t.equal(grubWord("two\nlines\r\u0000é"), "'two_lines___'");
  t.throws(() => grubWord(undefined), /has no value/);
  t.end();
});

t.test("GRUB", async (t) => {
  const { server, image } = await prepared(t);
  const { port } = server;

  t.test("its first contact asks for the machine's own config for ever, by IP literal and MAC", async (t) => {
    const { status, text, headers } = await server.ask("/grub/grub.cfg", { from: 1 });
    t.equal(status, 200);
    t.match(headers["content-type"], /^text\/plain/);
    t.match(
      text,
      `source '(http,127.0.0.1:${port})'"/boot/$net_default_mac/grub.cfg?uuid=$uuid&cpu=$grub_cpu&lockdown=$lockdown"`,
    );
    t.match(text, /while true; do[\s\S]*sleep 5[\s\S]*done\s*$/);
  });
  t.test("finds empty lists of modules, so that no error stands on the screen", async (t) => {
    const { status, bytes } = await server.ask("/grub/x86_64-efi/command.lst");
    t.same([status, bytes.length], [200, 0]);
  });
  t.test("a machine without a role waits, and its config comes back by itself", async (t) => {
    const answer = await server.grub(1);
    t.match(textOf(answer), /set answered=yes\n[\s\S]*'s1' .*waits for a role\.[\s\S]*sleep '[456]'$/);
    t.equal(answer.headers["cache-control"], "no-store");
  });
  t.test("an assigned one gets kernel and initrd by digest, and a claim that works", async (t) => {
    await server.assign("s1", "worker");
    const text = textOf(await server.grub(1));
    t.match(text, `if linux '(http,127.0.0.1:${port})/assets/${image.kernel}/vmlinuz' 'boot=rollcall'`);
    t.match(text, `initrd '(http,127.0.0.1:${port})/assets/${image.initrd}/initrd.img'`);
    t.match(text, `'BOOTIF=01-${macOf(1).replaceAll(":", "-")}'`);
    t.match(text, /'ds=nocloud-net;s=http:[^']*\/cloud-init\/'/, "the `;` is quoted");
    const claim = /\/callback\/([a-z0-9]+)/.exec(text)?.[1] ?? "";
    t.equal((await server.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: 1 })).status, 200);
    t.equal(
      (await server.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: 2 })).status,
      403,
      "and for nobody else",
    );
  });
  t.test("HEAD tells the length of every config and mints no claim", async (t) => {
    const claim = /\/callback\/([a-z0-9]+)/.exec((await server.grub(1)).text)?.[1] ?? "";
    const head = await server.grub(1, { method: "HEAD" });
    t.same([head.status, head.headers["content-length"]], [200, "8192"]);
    const use = await server.ask(`/boot/claims/${claim}/cloud-init/meta-data`, { from: 1 });
    t.equal(use.status, 200, "the claim of before is still good");
    for (const answer of [
      await server.grub(1),
      await server.grub(9, { from: 9 }),
      await server.grub(1, { from: 2 }),
    ])
      t.equal(answer.bytes.length, 8192);
  });
  t.test(
    "an address that belongs to another machine gets a fault that is told and retried, and no claim",
    async (t) => {
      const text = textOf(await server.grub(1, { from: 2 }));
      t.match(text, /MACHINE_MISMATCH[\s\S]*sleep '[0-9]+'$/);
      t.notMatch(text, /callback|claims/);
    },
  );
  t.test("what is no MAC is a fault on the screen", async (t) => {
    const answer = await server.ask("/boot/nonsense/grub.cfg", { from: 1 });
    t.equal(answer.status, 200);
    t.match(textOf(answer), /INVALID_MAC[\s\S]*sleep '[0-9]+'$/);
  });
  t.test("what only iPXE can do is refused under Secure Boot, in words", async (t) => {
    await server.assign("s1", "", { url: "http://10.0.0.9/own.ipxe", role: undefined });
    const text = textOf(await server.grub(1));
    t.match(text, /ROLE_NEEDS_IPXE[\s\S]*What to do: /);
    t.notMatch(text, "claims");
  });
  t.test(
    "... and where Secure Boot is off, the machine starts again, with iPXE; once, not for ever",
    async (t) => {
      t.equal(await secureBootOf(server, "s1"), true);
      t.match(textOf(await server.grub(1, { lockdown: "" })), /\nreboot$/);
      t.equal(await secureBootOf(server, "s1"), false);
      t.match(textOf(await server.grub(1, { lockdown: "" })), "ROLE_NEEDS_IPXE");
    },
  );
  t.test("the local disk comes by an error that makes firmware go on", async (t) => {
    await server.assign("s1", "local");
    t.match(textOf(await server.grub(1)), /'s1' boots from its local disk\.\nexit 1$/);
  });
});

t.test(
  "a command line that Linux would cut off is a fault on the screen, in GRUB and in iPXE alike",
  async (t) => {
    const role =
      "description: d\nboot: image\nimage: debian-node\narguments: ['x={{params.filler}}']\n" +
      "parameters: { filler: { type: string, default: a, description: d } }\n";
    const server = await startServer(t, { roles: { "long/role.yaml": role } });
    await server.addImage();
    await server.add(1, "s1");
    await server.assign("s1", "long", { params: { filler: "a" } });
    const preview = async () => (await server.api("GET", "/machines/s1/preview/ipxe")).text;
    const line = /\nkernel (\S+)[^\n]*( boot=rollcall [^\n]*) \|\|/.exec(await preview()) ?? [];
    // The preview's claim is masked by 8 signs, and it comes three times.
    const whole = `BOOT_IMAGE=${line[1]}${line[2]}`.length;
    await server.assign("s1", "long", { params: { filler: "a".repeat(2047 - whole + 1) } });
    t.match(await preview(), /x=aaa/, "as long as Linux reads");
    await server.assign("s1", "long", { params: { filler: "a".repeat(2047 - whole + 2) } });
    t.match(await preview(), /COMMAND_LINE_TOO_LONG.*would have 2048 octets, and Linux reads 2047/s);
    t.match((await server.grub(1)).text, /COMMAND_LINE_TOO_LONG[\s\S]*What to do: /);
    t.match((await server.script(1)).text, /COMMAND_LINE_TOO_LONG[\s\S]*What to do: /);
  },
);

t.test("a fault of any length fits into a config: the names of all roles would not", async (t) => {
  const lab = await createBootLab(t);
  const known = Array.from({ length: 300 }, (_, number) => `role-${number}-with-a-name-of-some-length`);
  const { script } = lab.boots.errorScript(
    RoleNotFound({ role: "gone", known }),
    "http://10.0.0.1:8080",
    true,
  );
  t.equal(script.length, 8192);
  t.match(script, /ROLE_NOT_FOUND[\s\S]*role-0[\s\S]*\nsleep '[0-9]+'\n/);
});

t.test("an unknown machine is sent to its disk where unknown ones are ignored", async (t) => {
  const { server } = await prepared(t, { unknownMachines: "ignore" });
  t.match(textOf(await server.grub(9)), /\nexit 1$/);
});

t.test("header names are written as in the RFCs, since GRUB compares them octet by octet", async (t) => {
  const { server, image } = await prepared(t);
  const raw = (path: string) =>
    new Promise<string>((resolve, reject) => {
      let answer = "";
      const socket = connect(server.port, "127.0.0.1", () =>
        socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`),
      );
      socket.setEncoding("latin1").on("data", (chunk: string) => (answer += chunk));
      socket.on("end", () => resolve(answer)).on("error", reject);
    });
  for (const path of [
    "/grub/grub.cfg",
    `/boot/${macOf(1)}/grub.cfg`,
    `/assets/${image.kernel}/vmlinuz`,
    "/nbp/snponly.efi",
  ]) {
    const [head = ""] = (await raw(path)).split("\r\n\r\n");
    t.match(head, /\r\nContent-Length: [0-9]+(\r\n|$)/, path);
    t.notMatch(head, /\r\n[a-z]/, `${path}: no name begins small`);
    t.notMatch(head, /\r\n[^:\r]+: *(\r\n|$)/, `${path}: no header is empty`);
    t.notMatch(head, /Transfer-Encoding/i, path);
  }
});

t.test("autoexec.ipxe lies at the root and beside the binary that HTTP boot loaded (Q16)", async (t) => {
  const { server } = await prepared(t);
  const contact = await server.ask("/boot.ipxe", { from: 1 });
  for (const path of ["/autoexec.ipxe", "/nbp/autoexec.ipxe", "/nbp//autoexec.ipxe"]) {
    const { status, text, headers } = await server.ask(path, { from: 1 });
    t.same([status, text], [200, contact.text], path);
    t.equal(headers["location"], undefined);
  }
});

t.test("what a machine said of its Secure Boot", async (t) => {
  t.test("holds no longer when its firmware comes back from an iPXE that was never heard of", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.inventory.meet(macOf(1), { secureBoot: false });
    await lab.dhcp(1);
    lab.tftp(1);
    t.equal(lab.machine("s1").secureBoot, false);
    await lab.dhcp(1);
    await lab.settle();
    t.equal(lab.machine("s1").secureBoot, undefined);
  });
  t.test("holds when the machine is switched off after iPXE ran", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.inventory.meet(macOf(1), { secureBoot: false });
    await lab.dhcp(1);
    lab.tftp(1);
    await lab.dhcp(1, { speaker: "ipxe" });
    await lab.dhcp(1);
    await lab.settle();
    t.equal(lab.machine("s1").secureBoot, false);
  });
  t.test("is not noted from a stranger", async (t) => {
    const lab = await createBootLab(t, { neighbours: () => "" });
    await lab.add(1, "s1");
    const grub = { arch: "x86_64", secureBoot: true } as const;
    const { error } = await lab.boots.script({
      mac: macOf(1),
      address: addressOf(2),
      serverUrl: "http://10.0.0.1:8080",
      facts: { secureBoot: true },
      grub,
    });
    t.equal(error?.code, "MACHINE_UNVERIFIED");
    t.equal(lab.machine("s1").secureBoot, undefined);
  });
});

t.test("files that shim and GRUB merely look for are no step of a boot", async (t) => {
  const lab = await createBootLab(t);
  await lab.add(1, "s1");
  await lab.dhcp(1);
  for (const file of ["revocations_sbat.efi", "shim_certificate_0.efi", "/grub/x86_64-efi/command.lst"])
    lab.tftp(1, { file, outcome: "not-found", sentBytes: 0 });
  lab.tftp(1, { file: "shimx64.efi" });
  lab.tftp(1, { file: "/grub/grub.cfg" });
  t.same(lab.stepsOf("s1"), ["discover", "offer", "nbp", "contact"]);
  t.same(
    lab.progresses.map(([, progress]) => progress),
    ["loaded", "started"],
    "GRUB's config shows that shim and GRUB run",
  );
});
