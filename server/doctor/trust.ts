import type { TlsService } from "../domain/sighting.ts";
import type { Candidate, Rule } from "./diagnosis.ts";

/** What a client says of our certificate as it breaks off (RFC 8446 s.6.2). Of these two the clients of other languages make one. */
const alertSays: Readonly<Record<string, "certain" | "probable">> = {
  UNKNOWN_CA: "certain",
  CERTIFICATE_UNKNOWN: "probable",
  // Go's (podman, CRI-O, containerd) for each reason. At the port of agents it is OpenSSL's for a time that has not come: CLOCK_WRONG.
  BAD_CERTIFICATE: "probable",
};
const ports: Readonly<Record<TlsService, string>> = {
  https: "this server's HTTPS port",
  registry: "this server's registry",
};

const candidates: readonly Candidate[] = [
  {
    code: "AUTHORITY_NOT_TRUSTED",
    what: "it does not know the authority that this server's certificate is of",
    tell: 'its log says "certificate signed by unknown authority", or `curl` there "unable to get local issuer certificate"',
  },
  {
    code: "OTHER_NAME",
    what: "it asks by a name or address that is not in the certificate",
    tell: 'its log says "certificate is valid for ..., not ..."; `registry.aliases` and `http.names` put names into it',
  },
  {
    code: "CLOCK_WRONG",
    what: "its clock is wrong",
    tell: "`date` on the machine shows another day than on this server",
  },
];

const authorityNotTrusted: Rule = {
  code: "AUTHORITY_NOT_TRUSTED",
  sentence:
    "The machine breaks off TLS with this server, most often its registry: it does not trust the authority of its certificate.",
  advice: [
    "Give the authority to its client: `boot registry authority` prints it; docs/registry.md names the file for podman, CRI-O, containerd and docker. Roles with our node's files have it by themselves.",
    "Where it had one before: this server's data directory is another one, with another authority. Switch the machine on anew.",
  ],
  find({ name, isThrough, seenAt, boot, now }) {
    const since = boot?.startedAt ?? now;
    const alerts = seenAt.handshakes.filter(
      ({ at, alert, service }) =>
        at >= since && alert in alertSays && (service === "registry" || alert !== "BAD_CERTIFICATE"),
    );
    const last = alerts.at(-1);
    if (!last) return undefined;
    const isSure = alerts.some(({ alert }) => alertSays[alert] === "certain");
    return {
      // It may have been anything of the machine, and have gone well since.
      certainty: isThrough ? "noted" : isSure ? "certain" : "probable",
      what: isSure
        ? `${name} broke off TLS with ${ports[last.service]}: it does not know the authority of its certificate.`
        : `${name} broke off TLS with ${ports[last.service]}: it does not take its certificate.`,
      seen: alerts.slice(-3).map(({ at, alert, service }) => ({
        at,
        what: `TLS alert ${alert.toLowerCase()} from its address, at ${ports[service]}`,
      })),
      ...(isSure ? {} : { candidates }),
    };
  },
};

export const trustRules: readonly Rule[] = [authorityNotTrusted];
