import { writeYaml } from "../yaml/read-yaml.ts";

export type KubeconfigUser =
  | { readonly name: string; readonly certificatePem: string; readonly privateKeyPem: string }
  | { readonly name: string; readonly token: string };

export interface Kubeconfig {
  readonly clusterName: string;
  /** URL of the API server. */
  readonly server: string;
  /** What the server's certificate is checked against; no kubeconfig of ours goes without. */
  readonly authorityPem: string;
  /** Undefined: a discovery file, which says where the cluster is and who vouches for it, and nothing else. */
  readonly user?: KubeconfigUser | undefined;
  /** Where its user works; undefined: in `default`, as kubectl has it. */
  readonly namespace?: string | undefined;
}

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** A kubeconfig with the names that kubeadm gives: the context is `<user>@<cluster>`. A secret, if it has a user. */
export function formatKubeconfig({ clusterName, server, authorityPem, user, namespace }: Kubeconfig): string {
  const context = user ? `${user.name}@${clusterName}` : clusterName;
  return writeYaml(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        // Without a context kubeadm takes the cluster that has no name, as in its own cluster-info.
        {
          name: user ? clusterName : "",
          cluster: { "certificate-authority-data": base64(authorityPem), server },
        },
      ],
      contexts: user
        ? [
            {
              name: context,
              context: {
                cluster: clusterName,
                user: user.name,
                ...(namespace === undefined ? {} : { namespace }),
              },
            },
          ]
        : [],
      "current-context": user ? context : "",
      preferences: {},
      users: user
        ? [
            {
              name: user.name,
              user:
                "token" in user
                  ? { token: user.token }
                  : {
                      "client-certificate-data": base64(user.certificatePem),
                      "client-key-data": base64(user.privateKeyPem),
                    },
            },
          ]
        : [],
    },
    { quoteTexts: true },
  );
}
