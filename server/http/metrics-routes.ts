import type { FastifyInstance } from "fastify";
import { readers } from "./authorization.ts";

export interface MetricsRouteDeps {
  readonly metrics: {
    readonly contentType: string;
    text(): Promise<string>;
  };
}

/** For Prometheus, with an API token (`authorization: { credentials_file: … }` in its config). */
export function registerMetrics(app: FastifyInstance, { metrics }: MetricsRouteDeps): void {
  app.get(
    "/metrics",
    {
      config: { scopes: readers },
      schema: { summary: "What the registry does, in Prometheus' text format", tags: ["health"] },
    },
    async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()),
  );
}
