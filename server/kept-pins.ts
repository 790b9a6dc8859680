/** Which images of the registry roles and the cluster rely on, put together. */
import { anyAddress, clusterInput } from "./config/cluster-input.ts";
import type { Config } from "./config/schema.ts";
import type { Assignment } from "./domain/assignment.ts";
import { readCluster } from "./domain/cluster.ts";
import type { Role } from "./domain/role.ts";
import { createPins, type Pin, parsePin, type Pins, pinsIn, pinsInAny } from "./registry/pins.ts";
import type { RegistryRepository } from "./store/registry.ts";

export interface KeptPinsDeps {
  readonly config: Config;
  /** Another object after each change. */
  readonly roles: () => { readonly roles: ReadonlyMap<string, Role> };
  readonly store: {
    readonly registry: RegistryRepository;
    readonly assignments: { all(): readonly Assignment[] };
  };
}

export function keepPins({ config, roles, store }: KeptPinsDeps): Pins {
  const { host, aliases, pins: configured } = config.registry;
  const hosts = [host, ...aliases];
  const fixed = [
    ...configured.flatMap((text) => parsePin(text, "registry.pins") ?? []),
    ...clusterPins(config, hosts),
  ];
  let known: { readonly of: object; readonly pins: readonly Pin[] } | undefined;
  function rolePins(): readonly Pin[] {
    const found = roles();
    if (known?.of !== found)
      known = {
        of: found,
        pins: [...found.roles.values()].flatMap((role) => pinsInAny(role, hosts, `role ${role.name}`)),
      };
    return known.pins;
  }
  const assignedPins = () =>
    store.assignments
      .all()
      .flatMap(({ target }) =>
        target.kind === "role"
          ? pinsInAny(target.params, hosts, `an assignment of the role ${target.role}`)
          : [],
      );
  return createPins({ store: store.registry, pins: () => [...fixed, ...rolePins(), ...assignedPins()] });
}

/** What kubeadm pulls, and what pods need beside it. Which etcd and CoreDNS a version takes kubeadm decides: all of them stay. */
function clusterPins(config: Config, hosts: readonly string[]): Pin[] {
  const input = clusterInput(config, anyAddress);
  if (!input) return [];
  const { kubernetesVersion, imageRepository, flannelImage, flannelPluginImage } = config.cluster;
  const version = `v${kubernetesVersion?.replace(/^v/, "")}`;
  const images = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
  const named = (key: string, image: string | undefined) =>
    image === undefined ? [] : pinsIn(image, hosts, `cluster.${key}`);
  const all = ["etcd", "coredns"].flatMap((image) =>
    named("imageRepository", imageRepository && `${imageRepository}/${image}:all`),
  );
  return [
    ...images.flatMap((image) =>
      named("imageRepository", imageRepository && `${imageRepository}/${image}:${version}`),
    ),
    ...all.map((pin) => ({ ...pin, reference: "*" })),
    ...named("pauseImage", readCluster(input).pauseImage),
    ...named("flannelImage", flannelImage),
    ...named("flannelPluginImage", flannelPluginImage),
  ];
}
