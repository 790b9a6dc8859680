import { type ContainerImage, withLibraries } from "./docker-archive.ts";

/** Busybox, and a few of its names in /bin. */
export const proofImage = "localhost/proof:1";

/** A container image of this host's busybox, for pods that prove something. */
export function proofContainer(): ContainerImage {
  const files = withLibraries("/usr/bin/busybox");
  for (const name of ["sh", "id", "httpd", "wget", "ip", "cat"]) files[`/bin/${name}`] = "/usr/bin/busybox";
  return { name: proofImage, files, entrypoint: [] };
}
