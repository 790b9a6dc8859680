/**
 * Every error that leaves the server has a code, and every code is defined here: its HTTP status, its sentence and its
 * advice. docs/errors.md is made from this table (`npm run docs:generate`), and a test holds the two together.
 */
export type ErrorKind =
  /** The caller asked for something that can't be: logged as info. */
  | "user"
  /** The surroundings failed (disk, port, missing file): logged as a warning. */
  | "operational"
  /** We are wrong: logged as an error. */
  | "bug";

export interface ErrorDefinition<D> {
  readonly kind: ErrorKind;
  readonly httpStatus: number;
  readonly message: (details: D) => string;
  /** What to do next, for a tired person: one or two sentences, with a command where there is one. `advice` in the details goes first. */
  readonly advice: string;
}

/** An error with a stable code, a message for people and advice on what to do next. */
export class RollcallError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly httpStatus: number;
  readonly advice: string;
  readonly details: Record<string, unknown>;
  constructor(code: string, definition: ErrorDefinition<never>, details: Record<string, unknown>) {
    super((definition.message as (details: unknown) => string)(details));
    this.name = code;
    this.code = code;
    this.kind = definition.kind;
    this.httpStatus = definition.httpStatus;
    this.advice = typeof details["advice"] === "string" ? details["advice"] : definition.advice;
    this.details = details;
  }
}

export interface ErrorFactory<D> {
  (details: D): RollcallError;
  readonly code: string;
  readonly definition: ErrorDefinition<D>;
  is(error: unknown): error is RollcallError;
}

const catalogue = new Map<string, ErrorFactory<never>>();

/** Defines one error. @throws when the code is defined twice */
export function defineError<D extends object>(code: string, definition: ErrorDefinition<D>): ErrorFactory<D> {
  if (catalogue.has(code)) throw new Error(`error code defined twice: ${code}`);
  const factory: ErrorFactory<D> = Object.assign(
    (details: D) =>
      new RollcallError(code, definition as ErrorDefinition<never>, details as Record<string, unknown>),
    {
      code,
      definition,
      is: (error: unknown): error is RollcallError => error instanceof RollcallError && error.code === code,
    },
  );
  catalogue.set(code, factory as ErrorFactory<never>);
  return factory;
}

/** All error definitions loaded so far, by code. */
export function definedErrors(): ReadonlyMap<string, ErrorFactory<never>> {
  return catalogue;
}
