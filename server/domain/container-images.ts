/** Where clients find the container registry of this server. */
export interface RegistryAddress {
  readonly url: string;
  readonly tlsUrl: string;
  /** What nodes call it, and signatures name images by. */
  readonly host: string;
  /** PEM of the authority that the certificate of `tlsUrl` is of. */
  readonly authority: string;
}
