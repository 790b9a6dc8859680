import type { Arch } from "../../domain/firmware.ts";
import { uefiFirstStage } from "../../domain/uefi-loaders.ts";
import { type Cidr, formatCidr, netmask } from "../../net/cidr.ts";
import type { Ipv4 } from "../../net/ipv4.ts";
import { type BootUrls, nbpNames } from "./choose-bootfile.ts";

/** DHCP servers that we can say it to, in their own words. */
export const snippetDialects = ["isc", "kea", "dnsmasq", "windows"] as const;
export type SnippetDialect = (typeof snippetDialects)[number];

export interface SnippetInput {
  /** Where TFTP and HTTP are served. */
  readonly serverAddress: Ipv4;
  readonly urls: BootUrls;
  readonly available: ReadonlySet<string>;
  /** Networks of the rooms. The other server may give addresses to a whole campus, whose other PCs are to be told nothing. */
  readonly subnets: readonly Cidr[];
}

/** What machines of some architectures (option 93, RFC 4578 s.2.1) are to be told. */
interface Row {
  readonly name: string;
  readonly architectures: readonly number[];
  readonly bootfile: string;
  /** UEFI HTTP boot takes no answer without "HTTPClient" in option 60. */
  readonly isHttp: boolean;
}

const { bios } = nbpNames;
/** No other DHCP server can be told what a machine said of its Secure Boot, so each gets what starts with it and without it. */
const uefi = (arch: Arch) => (available: ReadonlySet<string>) => uefiFirstStage(arch, undefined, available);
const kinds: readonly {
  name: string;
  architectures: readonly number[];
  names: (available: ReadonlySet<string>) => readonly string[];
}[] = [
  { name: "bios", architectures: [0], names: () => bios },
  { name: "uefi-x86", architectures: [6], names: uefi("x86") },
  { name: "uefi-x64", architectures: [7, 9], names: uefi("x86_64") },
  { name: "uefi-arm", architectures: [10], names: uefi("arm") },
  { name: "uefi-arm64", architectures: [11], names: uefi("arm64") },
];
const httpKinds: typeof kinds = [
  { name: "http-x86", architectures: [15], names: uefi("x86") },
  { name: "http-x64", architectures: [16], names: uefi("x86_64") },
  { name: "http-arm", architectures: [18], names: uefi("arm") },
  { name: "http-arm64", architectures: [19], names: uefi("arm64") },
];

function rowsOf({ urls, available }: SnippetInput): Row[] {
  const rows = (all: typeof kinds, isHttp: boolean): Row[] =>
    all.flatMap(({ name, architectures, names }) => {
      const file = names(available).find((candidate) => available.has(candidate));
      return file === undefined
        ? []
        : [{ name, architectures, isHttp, bootfile: isHttp ? urls.nbp(file) : file }];
    });
  return [...rows(kinds, false), ...rows(httpKinds, true)];
}

/**
 * What the administrator of another DHCP server puts into its config, so that machines whose firmware does not put two
 * offers together boot from here (firmware-quirks Q1, Q2).
 */
export function dhcpSnippet(dialect: SnippetDialect, input: SnippetInput): string {
  const rows = rowsOf(input);
  const lines = writers[dialect](rows, input);
  return `${lines.join("\n")}\n`;
}

type Writer = (rows: readonly Row[], input: SnippetInput) => string[];

const indented = (lines: readonly string[]) => lines.map((line) => `  ${line}`);
const networksText = (subnets: readonly Cidr[]) => subnets.map(formatCidr).join(", ");

const isc: Writer = (rows, { serverAddress, urls, subnets }) => {
  const hex = (code: number) => `00:${code.toString(16).padStart(2, "0")}`;
  const statements = [
    `next-server ${serverAddress};`,
    'if exists user-class and option user-class = "iPXE" {',
    `  filename "${urls.script}";`,
    ...rows.flatMap(({ architectures, bootfile, isHttp }) => [
      `} elsif ${architectures.map((code) => `option rollcall-architecture = ${hex(code)}`).join(" or ")} {`,
      ...(isHttp ? ['  option vendor-class-identifier "HTTPClient";'] : []),
      `  filename "${bootfile}";`,
    ]),
    "}",
  ];
  return [
    "# ISC dhcpd: at the top of dhcpd.conf, outside every subnet.",
    "option rollcall-architecture code 93 = unsigned integer 16;",
    ...subnets.flatMap((subnet) => [
      `# What is between these braces goes into the declaration of ${formatCidr(subnet)} that is there already.`,
      `subnet ${subnet.network} netmask ${netmask(subnet.prefixLength)} {`,
      ...indented(statements),
      "}",
    ]),
  ];
};

/** Classes that only the subnets evaluate that ask for them, so each test stands alone, whatever their order. */
const kea: Writer = (rows, { serverAddress, urls, subnets }) => {
  const isIpxe = "option[77].hex == 'iPXE'";
  const classes = [
    { name: "rollcall-ipxe", test: isIpxe, "only-if-required": true, "boot-file-name": urls.script },
    ...rows.map(({ name, architectures, bootfile, isHttp }) => ({
      name: `rollcall-${name}`,
      test: `not (${isIpxe}) and (${architectures.map((code) => `option[93].hex == 0x${code.toString(16).padStart(4, "0")}`).join(" or ")})`,
      "only-if-required": true,
      "next-server": serverAddress,
      "boot-file-name": bootfile,
      ...(isHttp
        ? { "option-data": [{ name: "vendor-class-identifier", data: "HTTPClient", "always-send": true }] }
        : {}),
    })),
  ];
  return [
    "// Kea: in Dhcp4 of kea-dhcp4.conf.",
    `"client-classes": ${JSON.stringify(classes, undefined, 2)}`,
    `// Kea: in the subnet4 of ${networksText(subnets)}; no other network is told anything.`,
    `"require-client-classes": ${JSON.stringify(
      classes.map(({ name }) => name),
      undefined,
      2,
    )}`,
  ];
};

const dnsmasq: Writer = (rows, { serverAddress, urls, subnets }) => {
  // Only a range can say of which network a client is.
  const room = "tag:rollcall";
  return [
    `# dnsmasq: in dnsmasq.conf. Begin each dhcp-range of ${networksText(subnets)} with set:rollcall, as in`,
    "#   dhcp-range=set:rollcall,FIRST,LAST,12h",
    "# No other network is told anything.",
    "dhcp-userclass=set:rollcall-ipxe,iPXE",
    ...rows.flatMap(({ name, architectures, bootfile, isHttp }) => {
      const tag = `rollcall-${name}`;
      const tags = `${room},tag:!rollcall-ipxe,tag:${tag}`;
      return [
        ...architectures.map((code) => `dhcp-match=set:${tag},option:client-arch,${code}`),
        isHttp ? `dhcp-boot=${tags},${bootfile}` : `dhcp-boot=${tags},${bootfile},,${serverAddress}`,
        ...(isHttp ? [`dhcp-option-force=${tags},60,HTTPClient`] : []),
      ];
    }),
    `dhcp-boot=${room},tag:rollcall-ipxe,${urls.script}`,
  ];
};

const windows: Writer = (rows, { serverAddress, urls, subnets }) => {
  const policy = (name: string, condition: string, options: readonly (readonly [number, string])[]) => [
    `Add-DhcpServerv4Policy -ScopeId $scope -Name "Rollcall ${name}" -Condition AND ${condition}`,
    ...options.map(
      ([id, value]) =>
        `Set-DhcpServerv4OptionValue -ScopeId $scope -PolicyName "Rollcall ${name}" -OptionId ${id} -Value "${value}"`,
    ),
  ];
  const kindsOfClient = rows.flatMap((row) =>
    row.architectures.map((code) => ({ ...row, code, title: `${row.name} ${code}` })),
  );
  return [
    "# Windows Server: in PowerShell on the DHCP server. The policies are of these scopes only.",
    "Add-DhcpServerv4OptionDefinition -OptionId 60 -Name PXEClient -Type String -ErrorAction SilentlyContinue",
    'Add-DhcpServerv4Class -Name "Rollcall iPXE" -Type User -Data "iPXE"',
    ...kindsOfClient.map(({ title, code, isHttp }) => {
      const vendor = `${isHttp ? "HTTPClient" : "PXEClient"}:Arch:${String(code).padStart(5, "0")}`;
      return `Add-DhcpServerv4Class -Name "Rollcall ${title}" -Type Vendor -Data "${vendor}"`;
    }),
    `foreach ($scope in ${subnets.map(({ network }) => `"${network}"`).join(", ")}) {`,
    ...indented([
      ...policy("iPXE", '-UserClass EQ,"Rollcall iPXE"', [[67, urls.script]]),
      ...kindsOfClient.flatMap(({ title, bootfile, isHttp }) =>
        policy(title, `-VendorClass EQ,"Rollcall ${title}*" -UserClass NE,"Rollcall iPXE"`, [
          isHttp ? [60, "HTTPClient"] : [66, serverAddress],
          [67, bootfile],
        ]),
      ),
    ]),
    "}",
  ];
};

const writers: Readonly<Record<SnippetDialect, Writer>> = { isc, kea, dnsmasq, windows };
