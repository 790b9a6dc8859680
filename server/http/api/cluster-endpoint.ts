import type { FastifyInstance, FastifyReply } from "fastify";
import { type Static, Type } from "typebox";
import type { ClusterService } from "../../cluster/cluster-service.ts";
import { apiServerPort } from "../../domain/cluster.ts";
import { InvalidRequest } from "../../domain/error-catalogue.ts";
import { renderHaproxy } from "../../endpoint/haproxy.ts";
import { renderKeepalived } from "../../endpoint/keepalived.ts";
import { type Ipv4, parseIpv4 } from "../../net/ipv4.ts";
import { readers } from "../authorization.ts";

const authorityFile = Type.Optional(Type.String({ pattern: "^(/[A-Za-z0-9._-]+)+$", maxLength: 200 }));
const defaultAuthorityFile = "/etc/haproxy/kubernetes-ca.crt";
const address = Type.String({ minLength: 1, maxLength: 18 });

const haproxyQuery = Type.Object(
  { bindAddress: Type.Optional(address), authorityFile },
  { additionalProperties: false },
);
const keepalivedQuery = Type.Object(
  {
    virtualAddress: Type.Optional(address),
    interface: Type.String({ pattern: "^[A-Za-z0-9._-]{1,15}$" }),
    address: Type.Optional(address),
    peers: Type.Optional(Type.String({ minLength: 1, maxLength: 400 })),
    priority: Type.Optional(Type.Integer({ minimum: 1, maximum: 254 })),
    routerId: Type.Optional(Type.Integer({ minimum: 1, maximum: 255 })),
    authorityFile,
  },
  { additionalProperties: false },
);

/** The cluster's endpoint for whoever has it outside of this server, as files for the programs that make it. */
export function registerClusterEndpointApi(app: FastifyInstance, serviceOf: () => ClusterService): void {
  const tags = ["cluster"];
  const sendText = (reply: FastifyReply, text: string) => reply.type("text/plain; charset=utf-8").send(text);

  app.get<{ Querystring: Static<typeof haproxyQuery> }>(
    "/cluster/endpoint/haproxy",
    {
      schema: {
        summary: "haproxy.cfg for the endpoint, with the masters as they are now",
        tags,
        querystring: haproxyQuery,
      },
      config: { scopes: readers },
    },
    (request, reply) => {
      const service = serviceOf();
      // keepalived's check asks at the loopback, and the virtual address is not there while another machine has it.
      const { bindAddress = "0.0.0.0", authorityFile = defaultAuthorityFile } = request.query;
      const text = renderHaproxy({
        bind: { address: addressOf("bindAddress", bindAddress), port: service.cluster.endpoint.port },
        masters: service.masters().map(({ name, address }) => ({ name, address, port: apiServerPort })),
        authorityFile,
      });
      return sendText(reply, text);
    },
  );

  app.get<{ Querystring: Static<typeof keepalivedQuery> }>(
    "/cluster/endpoint/keepalived",
    {
      schema: {
        summary:
          "keepalived.conf for one of the machines with haproxy; `virtualAddress` is the endpoint's own where that is an address",
        tags,
        querystring: keepalivedQuery,
      },
      config: { scopes: readers },
    },
    (request, reply) => {
      const { host, port } = serviceOf().cluster.endpoint;
      const { query } = request;
      const virtual = virtualAddressOf(query.virtualAddress ?? (parseIpv4(host) ? host : undefined), host);
      const peers = (query.peers?.split(",") ?? []).map((peer) => addressOf("peers", peer));
      if (peers.length > 0 && query.address === undefined)
        throw InvalidRequest({
          problem: "peers need address: the one of the machine that the file is for",
        });
      const text = renderKeepalived({
        virtualAddress: virtual.address,
        prefixLength: virtual.prefixLength,
        device: query.interface,
        port,
        routerId: query.routerId ?? 51,
        machine: {
          address: query.address === undefined ? virtual.address : addressOf("address", query.address),
          priority: query.priority ?? 100,
        },
        peers,
        authorityFile: query.authorityFile ?? defaultAuthorityFile,
      });
      return sendText(reply, text);
    },
  );

  app.get(
    "/cluster/endpoint/authority",
    {
      schema: { summary: "The certificate of the cluster's authority, PEM; no secret", tags },
      config: { scopes: readers },
    },
    (_request, reply) => sendText(reply, serviceOf().authorityPem),
  );
}

/** @throws InvalidRequest */
function addressOf(key: string, text: string): Ipv4 {
  const found = parseIpv4(text);
  if (!found) throw InvalidRequest({ problem: `${key}: ${JSON.stringify(text)} is no IPv4 address` });
  return found;
}

/** `10.0.0.9` or `10.0.0.9/24`; without its network's length it is one address and no more, as keepalived itself has it. @throws InvalidRequest */
function virtualAddressOf(text: string | undefined, host: string): { address: Ipv4; prefixLength: number } {
  if (text === undefined)
    throw InvalidRequest({
      problem: `virtualAddress: the endpoint ${host} is a name, so its address has to be told, like 10.0.0.9/24`,
    });
  const [first = "", length = "32", ...rest] = text.split("/");
  if (rest.length > 0 || !/^([1-9]|[12][0-9]|3[0-2])$/.test(length))
    throw InvalidRequest({
      problem: `virtualAddress: ${JSON.stringify(text)} is no address like 10.0.0.9/24`,
    });
  return { address: addressOf("virtualAddress", first), prefixLength: Number(length) };
}
