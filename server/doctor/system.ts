import { definedErrors } from "../domain/errors.ts";
import { machineCodes } from "../domain/reported-codes.ts";
import type { Boot } from "../domain/boot.ts";
import { furthestStep } from "../domain/boot.ts";
import type { Rule } from "./diagnosis.ts";
import { detailOf, eventsOf, logTails, stepsNamed, stoppedAt, wentOnAfter } from "./evidence.ts";
import { patienceAt, seenPatience } from "./patience.ts";
import { plural, seenEvent, seenLine, seenRequest, seenStep, span } from "./wording.ts";

/** So many boots, each this short, one behind the other. */
const loop = { boots: 3, eachMs: 20 * 60_000, restMs: 5 * 60_000 } as const;

/** The newest boots that ended nowhere, each begun soon after the one before. */
function boutOf(boots: readonly Boot[]): readonly Boot[] {
  const bout: Boot[] = [];
  for (const boot of boots) {
    const newer = bout.at(-1);
    const endedAt = boot.endedAt ?? boot.steps.at(-1)?.at ?? boot.startedAt;
    const isFollowed = newer === undefined || newer.startedAt - endedAt < loop.restMs;
    const isVain = boot.outcome === "abandoned" || boot.outcome === "failed" || newer === undefined;
    if (!isFollowed || !isVain || endedAt - boot.startedAt > loop.eachMs) break;
    bout.push(boot);
  }
  return bout;
}

export const bootLoop: Rule = {
  code: "BOOT_LOOP",
  sentence: "The machine boots again and again and gets no further than the same station each time.",
  advice: [
    "Watch one start on its screen: what stands there last before it restarts is the reason. `boot.afterFailures: exit` in the config ends restarts by our scripts.",
    "`boot NAME rescue --once` shows whether it is the role's image or the hardware.",
  ],
  find(reading) {
    const { boots, name, now, isThrough } = reading;
    const bout = boutOf(boots);
    const ended = bout.filter(({ outcome }) => outcome !== "running");
    if (isThrough || ended.length < loop.boots) return undefined;
    const stations = new Set(ended.map((boot) => furthestStep(boot) ?? "nothing"));
    const oldest = bout.at(-1);
    if (stations.size > 2 || !oldest || now - (bout[0]?.startedAt ?? 0) > loop.eachMs) return undefined;
    return {
      certainty: "certain",
      what: `${name} booted ${plural(bout.length, "time")} within ${span(now - oldest.startedAt)} and got to ${[...stations].join(" or ")} each time.`,
      seen: bout.slice(0, 5).map((boot) => ({
        at: boot.startedAt,
        what: `boot ${boot.id}: ${boot.verdict ?? boot.outcome}, furthest ${furthestStep(boot) ?? "nothing"}`,
      })),
    };
  },
};

/** By the `reason` of a refused claim (domain/claim.ts, cluster/registrar.ts). */
const claimAdvice: Readonly<Record<string, string>> = {
  "wrong-address":
    "The system has another address than its loader had, and nothing shows that it is the same machine: give it a reservation (`boot machine edit NAME --address IP`), or stand in its network.",
  expired:
    "It took longer than a claim lives: switch it on anew. A machine whose system takes so long needs a smaller role.",
  unknown: "It runs on the config of an older boot, or somebody tries claims: switch it on anew.",
  spent:
    "It asked for its config again after it was through: a script in the role runs twice. The next boot gets a new claim.",
  "too-many-fetches":
    "Something in the role asks for the config in a loop: look at `boot machine show NAME`, then switch it on anew.",
};

const configRefused: Rule = {
  code: "CONFIG_CLAIM_REFUSED",
  sentence:
    "The system asked for its config with a claim that was refused: it is another machine's, too old, used up, or from another address.",
  advice: [
    "Switch the machine on anew: each boot gets a claim of its own. The event names the reason and both addresses.",
  ],
  find(reading) {
    const { name, isThrough } = reading;
    const told = eventsOf(reading, "claim.refused").filter(({ data }) => !isJoining(String(data["reason"])));
    const last = told.at(-1);
    if (!last || isThrough) return undefined;
    const requests = reading.requestsOfBoot.filter(({ code }) => code === "CLAIM_REFUSED");
    const isServed = stepsNamed(reading, "config", "callback").some(({ at }) => at >= last.at);
    const advice = claimAdvice[String(last.data["reason"])];
    return {
      certainty: isServed ? "noted" : "certain",
      what: `${name} did not get what it asked for by its claim: ${last.message}.`,
      seen: [...told.slice(-3).map(seenEvent), ...requests.slice(-2).map(seenRequest)],
      ...(advice === undefined ? {} : { advice: [advice] }),
    };
  },
};

/** Those of a join have a rule of their own. */
const isJoining = (reason: string): boolean => ["second-claim", "wrong-mac", "wrong-uuid"].includes(reason);

const configFailed: Rule = {
  code: "CONFIG_NOT_MADE",
  sentence:
    "The machine asked for its config, and it can't be made of its role, or its Ignition is too old for it.",
  advice: [
    "`boot role lint` and `boot preview NAME user-data` show the fault; the machine asks again by itself.",
  ],
  find(reading) {
    const told = eventsOf(reading, "config.failed");
    const last = told.at(-1);
    if (!last || reading.isThrough || stepsNamed(reading, "callback").some(({ at }) => at > last.at))
      return undefined;
    const advice = definedErrors().get(String(last.data["code"]))?.definition.advice;
    return {
      certainty: "certain",
      what: `${last.message}.`,
      seen: told.slice(-3).map(seenEvent),
      ...(advice === undefined ? {} : { advice: [advice] }),
    };
  },
};

const reportedFault: Rule = {
  code: "MACHINE_REPORTED_FAULT",
  sentence: "The machine itself reported that its boot failed, and why.",
  advice: [
    "Its own words are in the evidence; `boot events --machine NAME` has its log. It starts over by itself, or on its next start.",
  ],
  isGeneral: true,
  find(reading) {
    const { boot, name, isThrough } = reading;
    const last = stepsNamed(reading, "failed").at(-1);
    if (!boot || !last || isThrough) return undefined;
    const advice = machineCodes[detailOf(last, "code")];
    const told = eventsOf(reading, "machine.failed").slice(-2);
    return {
      certainty: wentOnAfter(reading, last) ? "noted" : "certain",
      what: `${name} said: ${boot.verdict ?? detailOf(last, "code")}.`,
      seen: [seenStep(last), ...told.map(seenEvent)],
      ...(advice === undefined ? {} : { advice: [advice] }),
    };
  },
};

/** What Go, OpenSSL and curl say of a certificate whose time has not come or is over. */
const outOfTime =
  /x509: certificate has expired or is not yet valid|certificate is not yet valid|certificate has expired|CERT_(NOT_YET_VALID|HAS_EXPIRED)/i;
/** RFC 8446 s.6.2. OpenSSL sends bad_certificate for one that is not valid yet; Go for whatever it does not take. */
const alertSays: Readonly<Record<string, "certain" | "probable">> = {
  CERTIFICATE_EXPIRED: "certain",
  BAD_CERTIFICATE: "probable",
};

const clockWrong: Rule = {
  code: "CLOCK_WRONG",
  sentence:
    "The machine's clock is wrong, so that certificates which are good seem expired or not valid yet to it.",
  advice: [
    "Set the clock in the machine's firmware (its battery may be empty), or let it take the time from the network before it joins (NTP, option 42).",
    "Compare with `date` on this server: when that one is wrong, all machines say so.",
  ],
  find(reading) {
    const { name, isThrough, seenAt, boot } = reading;
    if (isThrough || !boot) return undefined;
    const tail = logTails(reading).findLast(({ text }) => outOfTime.test(text));
    const problem = reading.cluster?.node?.bootId === boot.id ? reading.cluster.node.problem : undefined;
    if (tail || (problem !== undefined && outOfTime.test(problem)))
      return {
        certainty: "certain",
        what: `${name} refuses a certificate of this cluster for its time: the machine's clock is wrong.`,
        seen: tail
          ? [seenLine(tail.at, tail.text, outOfTime)]
          : [{ at: reading.cluster?.node?.since ?? reading.now, what: problem ?? "" }],
      };
    // What pulls images speaks Go, of which bad_certificate says nothing of the time: trust.ts.
    const alerts = seenAt.handshakes.filter(
      ({ at, alert, service }) =>
        at >= boot.startedAt && alert in alertSays && (service === "https" || alertSays[alert] === "certain"),
    );
    const last = alerts.at(-1);
    // Whoever has shown its certificate since gets on with TLS.
    if (!last || reading.cluster?.node?.bootId === boot.id) return undefined;
    const certainty = alerts.some(({ alert }) => alertSays[alert] === "certain") ? "certain" : "probable";
    return {
      certainty,
      what: `${name} broke off TLS with this server: to it the certificate ${certainty === "certain" ? "has expired" : "is bad, most often not valid yet"}.`,
      seen: alerts
        .slice(-3)
        .map(({ at, alert }) => ({ at, what: `TLS alert ${alert.toLowerCase()} from its address` })),
      ...(certainty === "certain"
        ? {}
        : {
            candidates: [
              {
                code: "CLOCK_WRONG",
                what: "its clock is behind",
                tell: "`date` on the machine shows another day than on this server",
              },
              {
                code: "OTHER_AUTHORITY",
                what: "it knows another authority than this server's",
                tell: "its clock is right; it runs on the config of another server or of an older boot",
              },
            ],
          }),
    };
  },
};

const systemSilent: Rule = {
  code: "SYSTEM_SILENT",
  sentence:
    "The root file system was handed over to, and the system on it has not asked for its config or called back.",
  advice: [
    "Look at the machine's screen or console for the unit that waits or failed; `boot machine show NAME` has what it reported.",
    "`boot preview NAME user-data` shows its config as it was served.",
  ],
  find(reading) {
    const { name, furthest } = reading;
    const isAfterRoot = stoppedAt(reading, "switch-root", patienceAt(reading, "switch-root"));
    const last = stepsNamed(reading, "switch-root", "config").at(-1);
    // It sends its log meanwhile.
    const silenceMs = Math.min(patienceAt(reading, "config"), patienceAt(reading, "switch-root"));
    const isConfigured =
      stoppedAt(reading, "config", patienceAt(reading, "config")) && (reading.silentMs ?? 0) > silenceMs;
    if (!last || (!isAfterRoot && !isConfigured)) return undefined;
    return {
      certainty: "probable",
      what:
        furthest === "config"
          ? `${name} has its config since ${span(reading.now - last.at)} and has not called back.`
          : `${name} started the system on its root ${span(reading.now - last.at)} ago, and it has not asked for its config.`,
      seen: [seenStep(last), ...seenPatience(reading, furthest ?? "config")],
      candidates:
        furthest === "config"
          ? [
              {
                code: "CONFIG_STEP_FAILED",
                what: "a step of its config failed or waits",
                tell: "`cloud-init status --long` or `systemctl --failed` on the machine names it",
              },
              {
                code: "CALLBACK_LOST",
                what: "it is through, and its callback does not reach this server",
                tell: "it can be logged into, and `curl` of this server's address fails there",
              },
            ]
          : [
              {
                code: "SYSTEM_HANGS",
                what: "the system does not come up",
                tell: "its screen shows no login",
              },
              {
                code: "CONFIG_SOURCE_LOST",
                what: "it comes up and does not find where its config is",
                tell: "it shows a login under another name than its own; the kernel's command line lacks `ds=nocloud` or `ignition.config.url`",
              },
            ],
    };
  },
};

const switchedOff: Rule = {
  code: "SWITCHED_OFF",
  sentence: "The machine was switched off or reset in the middle of its boot, or went silent.",
  advice: ["Switch it on again. When it stops at the same station once more, `boot doctor` knows more then."],
  isGeneral: true,
  find(reading) {
    const { boot, name, furthest } = reading;
    if (!boot || boot.outcome !== "abandoned") return undefined;
    return {
      certainty: "noted",
      what: `${name}: ${boot.verdict ?? `nothing came after the step ${furthest ?? "nothing"}`}.`,
      seen: boot.steps.slice(-2).map(seenStep),
    };
  },
};

const waitsForRole: Rule = {
  code: "WAITS_FOR_ROLE",
  sentence: "The machine is fine and waits on its screen until somebody gives it a role.",
  advice: ["Give it one: `boot NAME worker`. It boots within seconds."],
  isFine: true,
  find(reading) {
    const last = stepsNamed(reading, "wait").at(-1);
    const isWaiting =
      reading.boot?.outcome === "running" && (reading.furthest === "wait" || reading.furthest === "pick");
    if (!last || !isWaiting || (reading.silentMs ?? 0) > 10 * 60_000) return undefined;
    return { certainty: "certain", what: `${reading.name} waits for a role.`, seen: [seenStep(last)] };
  },
};

const retired: Rule = {
  code: "RETIRED",
  sentence: "The machine was retired: it gets no boot file.",
  advice: ["Accept it again: `boot machine accept NAME`."],
  find({ machine, name, now }) {
    if (machine?.phase !== "retired") return undefined;
    return {
      certainty: "certain",
      what: `${name} is retired and gets no boot file.`,
      seen: [{ at: machine.lastSeenAt ?? now, what: "phase retired" }],
    };
  },
};

const nextBootFails: Rule = {
  code: "NEXT_BOOT_FAILS",
  sentence:
    "What the machine is assigned now could not be made into a script: its next boot would stop there.",
  advice: [
    "Mend the role or its image before the machine is switched on: `boot explain NAME` shows which it is and why.",
  ],
  find({ next, name, now, boot }) {
    if (!next?.problem) return undefined;
    const { code, message, advice } = next.problem;
    const isAsked = boot?.steps.findLast(({ step }) => step === "script")?.detail["code"] === code;
    if (isAsked) return undefined;
    return {
      certainty: "noted",
      what: `The next boot of ${name} would fail: ${message} (${code}).`,
      seen: [{ at: now, what: `its next role is ${next.name}` }],
      advice: [advice],
    };
  },
};

export const systemRules: readonly Rule[] = [
  configFailed,
  configRefused,
  clockWrong,
  systemSilent,
  retired,
  waitsForRole,
];
/** What is said last, where nothing says more. */
export const lastRules: readonly Rule[] = [reportedFault, nextBootFails, switchedOff];
