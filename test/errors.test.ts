import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import * as catalogue from "../server/domain/error-catalogue.ts";
import { defineError, definedErrors, RollcallError } from "../server/domain/errors.ts";

t.test("errors", (t) => {
  const factories = [...definedErrors()];

  t.test("every error has a code in capitals, a status of its kind, and advice in whole sentences", (t) => {
    t.ok(factories.length > 25, "the catalogue is loaded");
    for (const [code, { definition }] of factories) {
      t.match(code, /^[A-Z][A-Z0-9_]+$/);
      const { kind, httpStatus, advice } = definition;
      const isOurs = httpStatus >= 500;
      if (kind === "user") t.equal(isOurs, false, `${code}: the caller's mistake is a 4xx`);
      if (kind === "bug") t.equal(httpStatus, 500, code);
      t.match(advice, /^[A-Z`].*\.$/s, `${code}: ${advice}`);
      t.ok(advice.length <= 320, `${code}: short enough to be read at 9:55`);
    }
    t.end();
  });
  t.test("an error carries its code, details and advice, and is known by its factory alone", (t) => {
    const error = catalogue.RoleNotFound({ role: "wroker", known: ["worker"] });
    t.type(error, RollcallError);
    t.match(error, { code: "ROLE_NOT_FOUND", name: "ROLE_NOT_FOUND", kind: "user", httpStatus: 404 });
    t.equal(error.message, "there is no role wroker; there are: worker");
    t.match(error.details, { role: "wroker" });
    t.equal(catalogue.RoleNotFound.is(error), true);
    t.equal(catalogue.RoleInvalid.is(error), false);
    t.equal(catalogue.RoleNotFound.is(new Error("ROLE_NOT_FOUND")), false);
    t.end();
  });
  t.test("a code is defined once", (t) => {
    const again = { kind: "user", httpStatus: 400, message: () => "", advice: "" } as const;
    t.throws(() => defineError("ROLE_NOT_FOUND", again), /defined twice: ROLE_NOT_FOUND/);
    t.end();
  });
  t.test("hostile input is cut before it is repeated", (t) => {
    const long = "x".repeat(100_000);
    for (const error of [
      catalogue.InvalidMac({ text: long }),
      catalogue.InvalidHostSet({ part: long, reason: "r" }),
      catalogue.AssetNotFound({ sha256: long }),
      catalogue.NotFound({ path: long }),
    ])
      t.ok(error.message.length < 400, error.code);
    t.end();
  });
  t.test("a full disk is told in units that people read", (t) => {
    const { message } = catalogue.DiskFull({ neededBytes: 5_368_709_121, freeBytes: 0, path: "/data" });
    t.equal(message, "the disk under /data has 0 MiB free and 5121 MiB are needed");
    t.end();
  });
  t.test("each `boot` command that an advice names exists", (t) => {
    const commands = resolve(import.meta.dirname, "../server/cli/commands");
    const sources = readdirSync(commands).map((file) => readFileSync(join(commands, file), "utf8"));
    const known = new Set(
      sources.flatMap((source) =>
        [...source.matchAll(/\.command\(\s*"([a-z-]+)/g)].map(([, word]) => word ?? ""),
      ),
    );
    for (const [code, { definition }] of factories)
      for (const [, words = ""] of definition.advice.matchAll(/`boot ([a-z ]+)/g))
        for (const word of words.trim().split(" ").slice(0, 2))
          t.ok(known.has(word), `${code}: boot ${words.trim()}: ${word}`);
    t.end();
  });
  t.end();
});
