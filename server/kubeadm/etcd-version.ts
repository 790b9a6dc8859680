import type { KubernetesVersion } from "../domain/cluster.ts";

/** kubeadm since then takes no external etcd before 3.5 (MinExternalEtcdVersion is 3.5.24 in 1.32.10); the check is left out, see `initConfiguration`. */
const since = 31;
const oldest = [3, 5] as const;

/**
 * Whether an etcd is older than kubeadm of the cluster's version would take. It may work all the same: the API server does without what such
 * an etcd can't. But nobody tests that.
 * @param etcd its version, such as `3.4.23`; of another form counts as new
 */
export function isEtcdTooOld(etcd: string, { minor }: KubernetesVersion): boolean {
  const [, major, ofMinor] = /^([0-9]{1,3})\.([0-9]{1,3})\./.exec(etcd) ?? [];
  if (minor < since || major === undefined || ofMinor === undefined) return false;
  return Number(major) < oldest[0] || (Number(major) === oldest[0] && Number(ofMinor) < oldest[1]);
}
