import { api, at } from "../api.ts";
import type { QuotaLine, Student, StudentDetails } from "../cluster-types.ts";
import { Dialog } from "../parts/dialog.tsx";
import { byName } from "../parts/format.ts";
import { useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { Table } from "../parts/table.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";

/** What a student uses of what the quota of the namespace allows, resource by resource. */
export function StudentQuota({ student: { name }, onClose }: { student: Student; onClose: () => void }) {
  const { value, problem, isLoading } = useLoaded(
    (signal) => api.get<StudentDetails>(at`/students/${name}`, {}, signal),
    [name],
  );
  const title = say("cluster.quotaOf", { student: visibleText(name, 64) });
  return (
    <Dialog title={title} onClose={onClose}>
      {isLoading && <p class="hint">{say("page.loading")}</p>}
      <ProblemMessage problem={problem} />
      {value && (
        <Table
          caption={title}
          items={value.quota.toSorted((one, other) => byName(one.resource, other.resource))}
          keyOf={({ resource }) => resource}
          empty={say("cluster.noQuota")}
          columns={[
            {
              title: say("cluster.resource"),
              cell: ({ resource }) => <code>{visibleText(resource, 80)}</code>,
            },
            { title: say("cluster.used"), cell: ({ used }) => visibleText(used, 40), isNumber: true },
            {
              title: say("cluster.hard"),
              cell: ({ hard }: QuotaLine) => visibleText(hard, 40),
              isNumber: true,
            },
          ]}
        />
      )}
    </Dialog>
  );
}
