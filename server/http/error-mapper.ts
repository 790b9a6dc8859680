import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Ids, Log } from "../domain/capabilities.ts";
import { InternalError, InvalidRequest, NotFound, TooManyFailures } from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";

/** RFC 9457 problem document. `code` is stable; `type` is where docs/errors.md has it. */
export function problemDocument(error: RollcallError): Record<string, unknown> {
  return {
    type: `urn:rollcall:error:${error.code}`,
    title: error.code,
    status: error.httpStatus,
    detail: error.message,
    code: error.code,
    advice: error.advice,
  };
}

/** Fastify's own errors (validation, body limits, bad JSON) in our words. */
function fromFastify(error: FastifyError): RollcallError | undefined {
  if (error.validation)
    return InvalidRequest({
      problem: `${error.validationContext ?? "request"}: ${error.message.slice(0, 300)}`,
    });
  const status = error.statusCode ?? 500;
  if (status >= 500) return undefined;
  const problem = InvalidRequest({ problem: error.message.slice(0, 300) });
  return status === 400
    ? problem
    : new RollcallError(
        problem.code,
        { kind: "user", httpStatus: status, message: () => problem.message, advice: problem.advice },
        {},
      );
}

/** Every error leaves as a problem document with a code; what is our own fault is logged with a reference and not told in detail. */
export function installErrorMapper(
  app: FastifyInstance,
  log: Log,
  ids: Ids,
  onRefusal: (request: FastifyRequest, error: RollcallError) => void = () => {},
): void {
  app.setErrorHandler((error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply) => {
    let known = error instanceof RollcallError ? error : fromFastify(error as FastifyError);
    if (!known) {
      const reference = ids.id("e");
      log.error(
        { err: error, reference, method: request.method, route: request.routeOptions.url },
        "failed to answer a request",
      );
      known = InternalError({ reference });
    }
    onRefusal(request, known);
    if (known.httpStatus === 503) void reply.header("retry-after", "2");
    if (TooManyFailures.is(known))
      void reply.header("retry-after", String(known.details["retryAfterSeconds"]));
    if (known.httpStatus === 401) void reply.header("www-authenticate", "Bearer");
    return reply
      .code(known.httpStatus)
      .type("application/problem+json")
      .send(JSON.stringify(problemDocument(known)));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = NotFound({ path: request.url.split("?")[0] ?? "/" });
    onRefusal(request, error);
    return reply
      .code(404)
      .type("application/problem+json")
      .send(JSON.stringify(problemDocument(error)));
  });
}
