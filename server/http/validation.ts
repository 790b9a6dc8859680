import type { FastifySchemaCompiler } from "fastify";
import type { TSchema } from "typebox";
import { Compile } from "typebox/compile";
import { Value } from "typebox/value";
import { InvalidRequest } from "../domain/error-catalogue.ts";

interface Fault {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/**
 * Checks requests against their schemas, strictly: a body is taken as it is written (null stays null, "7" is no number) and a key that
 * nobody knows is refused rather than dropped, so that a slip is not taken for a wish. Query and path are text by nature and converted.
 */
export const strictValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const compile = () => Compile(schema);
  // At the first request: a server starts sooner, and most of its routes are seldom asked.
  let compiled: ReturnType<typeof compile> | undefined;
  return (given: unknown) => {
    compiled ??= compile();
    const whole = Value.Default(schema, given === undefined || given === null ? {} : given);
    const value = httpPart === "body" ? whole : Value.Convert(schema, whole);
    if (compiled.Check(value)) return { value };
    return {
      error: InvalidRequest({ problem: sentence(compiled.Errors(value) as unknown as Fault[], schema) }),
    };
  };
};

/** The first fault, for people: `limit: must be >= 1`. */
function sentence(faults: readonly Fault[], schema: TSchema): string {
  const unknown = faults.find((fault) => fault.keyword === "additionalProperties");
  if (unknown) {
    const names = (unknown.params["additionalProperties"] as string[]).map((name) => name.slice(0, 60));
    const known =
      unknown.instancePath === "" ? Object.keys((schema as { properties?: object }).properties ?? {}) : [];
    return `${inside(unknown)}unknown key ${names.join(", ")}${known.length > 0 ? `; known are ${known.join(", ")}` : ""}`;
  }
  const missing = faults.find((fault) => fault.keyword === "required");
  if (missing)
    return `${inside(missing)}${(missing.params["requiredProperties"] as string[]).join(", ")} is missing`;
  const [first] = faults;
  if (!first) return "the request does not fit its schema";
  const choices = faults.filter(
    (fault) => fault.keyword === "const" && fault.instancePath === first.instancePath,
  );
  if (first.keyword === "const")
    return `${inside(first)}must be one of ${choices.map((fault) => String(fault.params["allowedValue"])).join(", ")}`;
  return `${inside(first)}${first.message}`;
}

function inside({ instancePath }: Fault): string {
  return instancePath === "" ? "" : `${instancePath.slice(1).replaceAll("/", ".").slice(0, 100)}: `;
}
