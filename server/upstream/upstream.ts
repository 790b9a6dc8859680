/** A registry whose repositories are served here below a prefix. */
export interface Upstream {
  /** Of the repositories here, with a slash at its end: `docker.io/`. */
  readonly prefix: string;
  /** Without a slash at its end; a path behind the host is part of each repository's name there. */
  readonly url: string;
  readonly username?: string;
  /** Read at each login, so that a password can be changed while the server runs. */
  readonly passwordFile?: string;
  /** Where its signatures are, without a slash at its end; undefined: at the registry itself, if anywhere. */
  readonly lookaside?: string;
  /** Its TLS certificate is not verified, and it may be asked over plain HTTP with a password. */
  readonly isInsecure: boolean;
}

/** A repository of an upstream. */
export interface Place {
  readonly upstream: Upstream;
  /** As it is called here. */
  readonly repository: string;
  /** As it is called there. */
  readonly name: string;
}

export interface UpstreamSettings {
  readonly prefix: string;
  readonly url: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly lookaside?: string | undefined;
  readonly insecure?: boolean | undefined;
}

const dockerHub = "registry-1.docker.io";
const withoutSlashes = (text: string) => text.replace(/\/+$/, "");

/** Which upstream a repository is of; the longest prefix holds. */
export function createUpstreamMap(settings: readonly UpstreamSettings[]) {
  const upstreams = settings
    .map(({ prefix, url, username, passwordFile, lookaside, insecure }): Upstream => {
      return {
        prefix: `${withoutSlashes(prefix)}/`,
        url: withoutSlashes(url),
        isInsecure: insecure ?? false,
        ...(username !== undefined && { username }),
        ...(passwordFile !== undefined && { passwordFile }),
        ...(lookaside !== undefined && { lookaside: withoutSlashes(lookaside) }),
      };
    })
    .sort((one, other) => other.prefix.length - one.prefix.length);

  return {
    all: upstreams as readonly Upstream[],

    /** @returns undefined for a repository of our own */
    find(repository: string): Place | undefined {
      const upstream = upstreams.find(({ prefix }) => repository.startsWith(prefix));
      return upstream && { upstream, repository, name: nameAt(upstream, repository) };
    },

    /** All names that a repository has here, its own first: Docker's own images are also known without `library/`. */
    namesOf(repository: string): readonly string[] {
      const upstream = upstreams.find(({ prefix }) => repository.startsWith(prefix));
      if (!upstream || new URL(upstream.url).host !== dockerHub) return [repository];
      const rest = repository.slice(upstream.prefix.length);
      const [owner, image, ...more] = rest.split("/");
      if (image === undefined) return [repository, `${upstream.prefix}library/${rest}`];
      const isDockers = owner === "library" && more.length === 0;
      return isDockers ? [repository, upstream.prefix + image] : [repository];
    },

    /**
     * What a client means that names the registry beside the path (`?ns=docker.io`, as containerd asks its mirrors).
     * @returns the repository as it is called here
     */
    fromNamespace(namespace: string, repository: string): string {
      const prefix = `${namespace}/`;
      return upstreams.some((upstream) => upstream.prefix === prefix) ? prefix + repository : repository;
    },
  };
}
export type UpstreamMap = ReturnType<typeof createUpstreamMap>;

function nameAt({ prefix, url }: Upstream, repository: string): string {
  const rest = repository.slice(prefix.length);
  const { host, pathname } = new URL(url);
  // Docker's own images have no owner in what people write.
  const name = host === dockerHub && !rest.includes("/") ? `library/${rest}` : rest;
  return pathname === "/" ? name : `${pathname.slice(1)}/${name}`;
}
