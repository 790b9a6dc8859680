import t from "tap";
import { kubeconfigFiles } from "../../server/kubeadm/certificate-layout.ts";
import { isEtcdTooOld } from "../../server/kubeadm/etcd-version.ts";
import { sampleCluster, sampleMaster } from "../support/cluster-samples.ts";

t.test(
  "the kubelet of the first master speaks to the endpoint, since 1.33 to the API server beside it",
  (t) => {
    const serverOf = (version: string) =>
      kubeconfigFiles(sampleCluster(version), sampleMaster, { isFirst: true }).find(
        ({ name }) => name === "kubelet.conf",
      )?.server;
    for (const version of ["1.20.2", "1.32.10"]) t.equal(serverOf(version), "https://api.lab:6443", version);
    for (const version of ["1.33.0", "1.36.4"]) t.equal(serverOf(version), "https://10.0.0.11:6443", version);
    t.end();
  },
);

t.test("an etcd before 3.5 is too old since 1.31, and no other", (t) => {
  const isTooOld = (etcd: string, kubernetes: string) =>
    isEtcdTooOld(etcd, sampleCluster(kubernetes).version);
  t.ok(isTooOld("3.4.23", "1.31.0"));
  t.ok(isTooOld("2.3.8", "1.36.4"));
  for (const etcd of ["3.5.16", "3.6.0", "4.0.0", "", "3"]) t.notOk(isTooOld(etcd, "1.36.4"), etcd);
  t.notOk(isTooOld("3.4.23", "1.30.14"));
  t.end();
});
