import t from "tap";
import { bootSpans } from "../server/domain/boot-spans.ts";

const at = (step: string, afterMs: number, isReported = false) => ({
  step,
  afterMs,
  detail: isReported ? { reported: 1 } : {},
});
const steps = [
  at("discover", 0),
  at("contact", 900),
  at("script", 1000),
  at("kernel", 1100),
  at("initrd", 1500),
  at("network", 4000, true),
  at("rootfs", 4100),
  at("rootfs", 5000, true),
  at("verify", 5500, true),
  at("switch-root", 6000, true),
  at("config", 9000),
  at("config", 9100),
  at("callback", 10_000),
];
const startedAt = "2026-11-21T10:00:03.000Z";
const poweredOn = Date.parse("2026-11-21T10:00:00.000Z");

t.test("a boot's time is told by phase, from power-on to the callback, and all of it once", (t) => {
  const spans = bootSpans(poweredOn, { startedAt, steps });
  t.same(
    spans.map(({ milliseconds }) => milliseconds),
    [3000, 1000, 500, 2500, 1500, 500, 3000, 1000],
  );
  t.equal(
    spans.reduce((sum, { milliseconds }) => sum + milliseconds, 0),
    13_000,
  );
  t.end();
});

t.test("a phase that the timeline does not have is part of the next one", (t) => {
  const lost = steps.filter(({ step }) => step !== "verify");
  t.same(
    bootSpans(poweredOn, { startedAt, steps: lost }).map(({ what, milliseconds }) => [
      what.split(",")[0],
      milliseconds,
    ]),
    [
      ["firmware", 3000],
      ["first stage", 1000],
      ["kernel and initrd loaded", 500],
      ["kernel and initramfs start", 2500],
      ["root checked and mounted", 2000],
      ["system starts", 3000],
      ["configured", 1000],
    ],
  );
  t.end();
});
