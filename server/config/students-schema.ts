import { Type } from "typebox";

/** resource.Quantity of Kubernetes, as far as people write it: 2, 500m, 256Mi, 1.5Gi. */
const quantityPattern = "^[0-9]{1,9}(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";
const quantity = (value: string, description: string) =>
  Type.String({
    pattern: quantityPattern,
    title: 'a quantity of Kubernetes like "2" (a bare number in quotes), 500m, 256Mi or 1.5Gi',
    default: value,
    description,
  });
const count = (value: number, description: string) =>
  Type.Integer({ minimum: 0, maximum: 100_000, default: value, description });

/** The section `students`: what each of them gets. */
export const studentsSchema = Type.Object(
  {
    clusterRole: Type.String({
      pattern: "^[A-Za-z0-9]([A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?$",
      title: "the name of a ClusterRole",
      default: "admin",
      description: "ClusterRole that a student has in the own namespace",
    }),
    podSecurity: Type.Unsafe<"baseline" | "restricted" | "privileged">(
      Type.Union([Type.Literal("baseline"), Type.Literal("restricted"), Type.Literal("privileged")], {
        default: "baseline",
        description: "what students' pods may ask for (Pod Security Admission, Kubernetes 1.23 and later)",
      }),
    ),
    quota: Type.Object(
      {
        cpu: quantity("2", "processors that all containers of a student may take together"),
        memory: quantity("2Gi", "memory that all containers of a student may take together"),
        pods: count(10, "pods of a student that run at the same time"),
        services: count(10, "services of a student"),
        nodePorts: count(2, "ports that services of a student open on every node"),
        volumeClaims: count(0, "persistent volumes that a student may claim"),
      },
      { additionalProperties: false },
    ),
    container: Type.Object(
      {
        cpu: quantity("500m", "processors of a container that does not say itself how many it takes at most"),
        memory: quantity("256Mi", "memory of a container that does not say itself how much it takes at most"),
        cpuRequest: quantity("50m", "processors that are set aside for a container that does not say itself"),
        memoryRequest: quantity("64Mi", "memory that is set aside for a container that does not say itself"),
      },
      { additionalProperties: false },
    ),
    networkPolicy: Type.Boolean({
      default: true,
      description:
        "give each student a NetworkPolicy: pods are reached from the own namespace alone, and reach it, DNS and what is outside of the cluster; of effect where the pods' network enforces such policies, which bridge and flannel do not",
    }),
    tokenHours: Type.Integer({
      minimum: 1,
      maximum: 744,
      default: 8,
      description: "life of a student's token unless the command says otherwise, hours",
    }),
  },
  { additionalProperties: false },
);
