import type { FastifyInstance } from "fastify";
import type { RegistryAddress } from "../domain/container-images.ts";
import { RegistryOff } from "../domain/error-catalogue.ts";

export interface AuthorityRouteDeps {
  readonly containers: {
    /** Undefined: the registry is switched off. */
    address(): RegistryAddress | undefined;
  };
}

/** For whoever sets up clients of the registry: no secret, and no token is needed. */
export function registerAuthority(app: FastifyInstance, { containers }: AuthorityRouteDeps): void {
  app.get(
    "/registry-ca.crt",
    { schema: { summary: "The authority that the registry's certificate is of, PEM", tags: ["registry"] } },
    async (_request, reply) => {
      const address = containers.address();
      if (!address) throw RegistryOff({});
      return reply.type("application/x-pem-file").header("cache-control", "no-cache").send(address.authority);
    },
  );
}
