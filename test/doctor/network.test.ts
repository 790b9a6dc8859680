/** Diagnoses of network and firmware, each made to happen to a real server: raw packets over loopback sockets, unless the name says otherwise. */
import t from "tap";
import { clientOptions } from "../support/dhcp-messages.ts";
import { doctorLab } from "../support/doctor-lab.ts";
import { macOf } from "../support/samples.ts";

const uefi = { options: clientOptions.ovmf };
const bios = { options: clientOptions.bios };
const ipxe = { options: clientOptions.ipxe };
const other = "10.0.0.2";
const taken = { requested: "10.0.0.50", server: other } as const;

t.test(
  "NO_DISCOVER: nothing was heard, of a machine that was added and of a MAC that nobody knows",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    for (const name of ["s1", macOf(9)])
      t.match(
        await lab.first(name),
        { code: "NO_DISCOVER", certainty: "certain", advice: [/boot order/, /ip helper-address/] },
        name,
      );
    t.match(await lab.doctor(macOf(9)), { machine: null, mac: macOf(9), stoppedAt: null, fine: false });
    t.equal((await lab.api("GET", "/machines/s9/doctor")).status, 404, "a name that nobody has is an error");
    const off = await doctorLab(t, { mode: "off" });
    t.match(await off.first(macOf(9)), { code: "NO_DISCOVER", what: /DHCP is off here/ });
  },
);

t.test("WAKING, then WOKEN_NOT_SEEN: a machine that was woken sends nothing", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await lab.order("s1", "on");
  t.match(await lab.first("s1"), { code: "WAKING", fine: true, what: /its first packet may take 8 min/ });
  lab.later(9 * 60);
  t.match(await lab.doctor("s1"), {
    diagnoses: [
      {
        code: "WOKEN_NOT_SEEN",
        certainty: "probable",
        what: /s1 was ordered to switch on \(wol\) 9 min ago/,
        evidence: [{ what: /ordered by wol/ }, { what: /within 8 min of the order: fewer than 3/ }],
        candidates: [
          { code: "WAKE_ON_LAN_OFF" },
          { code: "POWER_WAS_LOST", tell: /After power loss/ },
          { code: "CABLE_OR_PORT" },
          { code: "BOOTS_FROM_DISK" },
        ],
      },
    ],
  });
  t.notMatch(await lab.codes("s1"), /NO_DISCOVER/, "what says more stands alone");
  lab.dhcp(1, { type: "Discover", ...uefi });
  await lab.seen("s1", "UNDER_WAY");
});

t.test("BOOTS_FROM_DISK: only its operating system asked", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  lab.dhcp(1, { type: "Discover", options: clientOptions.linux });
  t.match((await lab.seen("s1", "BOOTS_FROM_DISK")).diagnoses[0], {
    certainty: "certain",
    evidence: [{ what: /DISCOVER of its os/ }],
  });
});

t.test("OTHER_DHCP_SERVER: a machine takes another server's address where this one gives them", async (t) => {
  const lab = await doctorLab(t, { mode: "authoritative" });
  await lab.add(1, "s1");
  await lab.step("offer", () => lab.dhcp(1, { type: "Discover", ...uefi }));
  await lab.step("request", () => lab.dhcp(1, { type: "Request", ...taken, ...uefi }));
  t.equal((await lab.first("s1"))?.code, "UNDER_WAY", "it may come yet");
  lab.later(60);
  t.match(await lab.first("s1"), { code: "OTHER_DHCP_SERVER", certainty: "certain", what: /10\.0\.0\.2/ });
});

t.test(
  "OFFER_NOT_TAKEN: an authoritative server's offers are not answered, and two causes are named",
  async (t) => {
    const lab = await doctorLab(t, { mode: "authoritative" });
    await lab.add(1, "s1");
    for (const secs of [0, 4, 8]) {
      await lab.step("offer", () => lab.dhcp(1, { type: "Discover", secs, ...uefi }));
      lab.later(4);
    }
    t.match(await lab.first("s1"), {
      code: "OFFER_NOT_TAKEN",
      certainty: "probable",
      candidates: [{ code: "OFFER_LOST" }, { code: "OTHER_DHCP_SERVER" }],
    });
  },
);

t.test("NO_ADDRESS_FREE: the pool is used up", async (t) => {
  const lab = await doctorLab(t, {
    mode: "authoritative",
    settings: {
      "dhcp.subnets": [{ subnet: "10.0.0.0/24", range: "10.0.0.10-10.0.0.10", relay: ["127.0.0.1"] }],
    },
  });
  for (const number of [1, 2]) await lab.add(number, `s${number}`);
  await lab.step("offer", () => lab.dhcp(1, { type: "Discover", ...uefi }));
  await lab.step("discover", () => lab.dhcp(2, { type: "Discover", ...uefi }));
  t.match(await lab.first("s2"), { code: "NO_ADDRESS_FREE", certainty: "certain", what: /s2 asked/ });
});

t.test("DHCP_NOT_ANSWERED: a relay agent that is not in the config is named", async (t) => {
  const lab = await doctorLab(t, { mode: "authoritative" });
  await lab.add(1, "s1");
  lab.dhcp(1, { type: "Discover", giaddr: "10.9.0.1", ...uefi });
  const { diagnoses } = await lab.seen("s1", "DHCP_NOT_ANSWERED");
  t.match(diagnoses[0], {
    certainty: "certain",
    what: /relay agent is not configured/,
    advice: [/dhcp\.subnets\[\]\.relay/],
  });
});

t.test("NO_DHCP_SERVER: a proxy offers boot files and nobody gives addresses", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  for (const secs of [0, 4, 12, 28, 32]) {
    await lab.step("offer", () => lab.dhcp(1, { type: "Discover", secs, ...uefi }));
    lab.later(8);
  }
  t.match(await lab.first("s1"), {
    code: "NO_DHCP_SERVER",
    certainty: "certain",
    advice: [/./, /authoritative/],
  });
});

t.test(
  "OFFERS_NOT_MERGED: probable after three rounds, certain after the fourth beside a server that gives addresses",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    await lab.add(2, "s2");
    await lab.step("request", () => lab.dhcp(2, { type: "Request", ...taken, ...uefi }));
    for (const [secs, wait] of [
      [0, 4],
      [4, 8],
      [12, 16],
    ] as const) {
      await lab.step("offer", () => lab.dhcp(1, { type: "Discover", secs, ...uefi }));
      lab.later(wait);
    }
    t.match(await lab.first("s1"), {
      code: "OFFERS_NOT_MERGED",
      certainty: "probable",
      candidates: [{ code: "OFFERS_NOT_MERGED" }, { code: "NO_DHCP_SERVER" }],
    });
    await lab.step("offer", () => lab.dhcp(1, { type: "Discover", secs: 28, ...uefi }));
    t.match(await lab.first("s1"), {
      code: "OFFERS_NOT_MERGED",
      certainty: "certain",
      advice: [/dhcp-snippet/, /authoritative/],
    });
  },
);

t.test(
  "NEVER_CAME_TO_4011: UEFI takes the other server's address and does not ask the boot server",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    await lab.step("offer", () => lab.dhcp(1, { type: "Discover", ...uefi }));
    await lab.step("request", () => lab.dhcp(1, { type: "Request", ...taken, ...uefi }));
    lab.later(30);
    t.match(await lab.first("s1"), {
      code: "NEVER_CAME_TO_4011",
      certainty: "probable",
      what: /10\.0\.0\.2/,
      candidates: [
        { code: "PORT_4011_BLOCKED" },
        { code: "PROXY_OFFER_IGNORED" },
        { code: "OTHER_DHCP_SERVER" },
      ],
    });
    await lab.step("request", () => lab.dhcp(1, { type: "Request", ciaddr: "127.0.0.1", ...uefi }, 4011));
    lab.later(30);
    t.match(
      await lab.first("s1"),
      { code: "TFTP_BLOCKED", certainty: "probable" },
      "it came, and not for its file: another cause",
    );
  },
);

t.test(
  "BOOT_FILE_OF_OTHER_SERVER: a BIOS machine takes the other server's address and nothing of this one's",
  async (t) => {
    const lab = await doctorLab(t, { bootAssets: ["undionly.kpxe"] });
    await lab.add(1, "s1");
    await lab.step("offer", () => lab.dhcp(1, { type: "Discover", ...bios }));
    await lab.step("request", () => lab.dhcp(1, { type: "Request", ...taken, ...bios }));
    lab.later(30);
    t.match(await lab.first("s1"), {
      code: "BOOT_FILE_OF_OTHER_SERVER",
      certainty: "probable",
      candidates: [{ code: "OTHER_DHCP_SERVER" }, { code: "TFTP_BLOCKED" }],
    });
  },
);

t.test("NO_BOOT_FILE: there is no program for its architecture", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await lab.step("discover", () => lab.dhcp(1, { type: "Discover", ...bios }));
  t.match((await lab.seen("s1", "NO_BOOT_FILE")).diagnoses[0], {
    certainty: "certain",
    what: /undionly\.kpxe/,
  });
});

t.test("SPANNING_TREE_DELAY: the first DISCOVER that is heard is the firmware's fourth", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  lab.later(600);
  await lab.step("offer", () => lab.dhcp(1, { type: "Discover", secs: 28, ...uefi }));
  t.match(await lab.first("s1"), {
    code: "SPANNING_TREE_DELAY",
    certainty: "probable",
    advice: [/PortFast/, /./],
    candidates: [{ code: "SPANNING_TREE_DELAY" }, { code: "PACKETS_LOST" }],
  });
  await lab.script(1);
  t.notMatch(
    (await lab.first("s1"))?.code,
    "SPANNING_TREE_DELAY",
    "a machine that goes on is not stopped by it",
  );
  t.match(await lab.codes("s1"), /SPANNING_TREE_DELAY/, "it stays as a remark");
  const started = await doctorLab(t);
  await started.add(1, "s1");
  started.later(5);
  await started.step("offer", () => started.dhcp(1, { type: "Discover", secs: 28, ...uefi }));
  t.match(
    await started.codes("s1"),
    ["UNDER_WAY"],
    "what was sent before this server was up could not be heard",
  );
});

t.test(
  "IPXE_NO_SECOND_OFFER: iPXE has its address from the other server and never comes for its script",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    await lab.step("ipxe-dhcp", () => lab.dhcp(1, { type: "Discover", ...ipxe }));
    await lab.step("ipxe-dhcp", () => lab.dhcp(1, { type: "Request", ...taken, ...ipxe }));
    lab.later(20);
    t.match(await lab.first("s1"), {
      code: "IPXE_NO_SECOND_OFFER",
      certainty: "probable",
      candidates: [{ code: "IPXE_NO_SECOND_OFFER" }, { code: "HTTP_UNREACHABLE" }],
    });
  },
);

t.test("HTTP_UNREACHABLE: iPXE has its address from here and never comes for its script", async (t) => {
  const lab = await doctorLab(t, { mode: "authoritative" });
  await lab.add(1, "s1");
  await lab.step("ipxe-dhcp", () => lab.dhcp(1, { type: "Discover", ...ipxe }));
  await lab.step("ipxe-dhcp", () =>
    lab.dhcp(1, { type: "Request", requested: "10.0.0.10", server: "127.0.0.1", ...ipxe }),
  );
  lab.later(20);
  t.match(await lab.first("s1"), { code: "HTTP_UNREACHABLE", certainty: "probable" });
});
