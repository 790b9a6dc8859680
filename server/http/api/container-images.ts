import type { FastifyInstance } from "fastify";
import type { RegistryAddress } from "../../domain/container-images.ts";
import { RegistryOff } from "../../domain/error-catalogue.ts";
import { readers } from "../authorization.ts";

export interface ContainerImageApiDeps {
  readonly containers: {
    /** Undefined: the registry is switched off. */
    address(): RegistryAddress | undefined;
  };
}

/** Images for containers, beside those that machines boot. */
export function registerContainerImageApi(app: FastifyInstance, { containers }: ContainerImageApiDeps): void {
  app.get(
    "/registry",
    {
      config: { scopes: readers },
      schema: {
        summary: "Where the container registry is, and whose certificate it shows",
        tags: ["registry"],
      },
    },
    () => {
      const address = containers.address();
      if (!address) throw RegistryOff({});
      return address;
    },
  );
}
