import { quantityOf } from "../domain/student-objects.ts";
import type { ValueProblem } from "./check-values.ts";
import type { Config } from "./schema.ts";

/** Where one of these does not fit into the other, no container of any student would ever start. */
export function checkStudents({ students: { quota, container } }: Pick<Config, "students">): ValueProblem[] {
  const mustFit = [
    ["cpu", container.cpu, "students.quota.cpu", quota.cpu],
    ["memory", container.memory, "students.quota.memory", quota.memory],
    ["cpuRequest", container.cpuRequest, "students.container.cpu", container.cpu],
    ["memoryRequest", container.memoryRequest, "students.container.memory", container.memory],
  ] as const;
  return mustFit.flatMap(([key, value, limitKey, limit]) =>
    quantityOf(value) > quantityOf(limit)
      ? [
          {
            path: ["students", "container", key],
            message: `${value} is more than ${limitKey}, which is ${limit}: no container would start`,
          },
        ]
      : [],
  );
}
