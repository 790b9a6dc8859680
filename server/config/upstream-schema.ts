import { Type } from "typebox";

/** One entry of `registry.upstreams`. */
export const upstreamSchema = Type.Object(
  {
    prefix: Type.String({
      pattern: "^[a-z0-9]+(?:[._/-]+[a-z0-9]+)*/?$",
      maxLength: 200,
      title: "lower-case words like docker.io/ or mirror/quay.io/",
      description: "repositories of it have this before their name here, e.g. docker.io/",
    }),
    url: Type.String({
      pattern: "^https?://[^/?#@]+(/[^?#]*)?$",
      maxLength: 1000,
      title: "an address like https://registry-1.docker.io",
      description: "the registry, e.g. https://registry-1.docker.io",
    }),
    username: Type.Optional(Type.String({ minLength: 1, description: "whom to log in as there" })),
    passwordFile: Type.Optional(Type.String({ minLength: 1, description: "file with the password" })),
    lookaside: Type.Optional(
      Type.String({
        pattern: "^https?://[^/?#@]+(/[^?#]*)?$",
        maxLength: 1000,
        title: "an address like https://example.org/sigstore",
        description: "where its signatures are; default: at the registry itself",
      }),
    ),
    insecure: Type.Optional(
      Type.Boolean({ description: "its TLS certificate is not verified, and plain HTTP gets the password" }),
    ),
  },
  {
    additionalProperties: false,
    title: "registries, each beginning with `- prefix: docker.io/` and with its `url`",
  },
);
