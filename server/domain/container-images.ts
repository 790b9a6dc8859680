/** Where clients find the container registry of this server. */
export interface RegistryAddress {
  readonly url: string;
  readonly tlsUrl: string;
  /** What nodes call it, and signatures name images by. */
  readonly host: string;
  /** Other names and addresses of it, with a port where there is one. */
  readonly aliases: readonly string[];
  /** PEM of the authority that the certificate of `tlsUrl` is of. */
  readonly authority: string;
}

export const repositoryModes = ["open", "warn", "require-signed"] as const;
/** Who sees an image that nobody has signed: everybody, everybody with a warning, those who may push it. */
export type RepositoryMode = (typeof repositoryModes)[number];

export interface RepositoryRule {
  /** Of names of repositories; `*` stands for any characters. */
  readonly pattern: string;
  /** Undefined: another rule says it, or nobody: then it is open. */
  readonly mode?: RepositoryMode;
  /** Octets that each of these repositories may have; undefined: another rule says it, or there is no limit. */
  readonly quotaBytes?: number;
}
