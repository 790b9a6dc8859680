import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { api, Problem } from "../api.ts";
import type { ClusterAnswer, ClusterNode, Student } from "../cluster-types.ts";
import { machines } from "../live.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { StateWord } from "../parts/state-word.tsx";
import { Table } from "../parts/table.tsx";
import { ago } from "../parts/text.ts";
import { pathTo } from "../routes.ts";
import { keyOf, say } from "../words.ts";
import { StudentQuota } from "./student-details.tsx";
import "./machine.css";

/** Not configured is no fault: the sentence tells how to have one. */
const isAbsent = (problem: unknown) =>
  problem instanceof Problem && (problem.status === 404 || problem.status === 409);

export function ClusterView() {
  // Joining shows in the machines' own states.
  const news = [...machines.value.values()].map(({ name, cluster }) => `${name} ${cluster}`).join();
  const cluster = useLoaded((signal) => api.get<ClusterAnswer>("/cluster", {}, signal), [news]);
  const students = useLoaded(
    () => (cluster.value ? api.all<Student>("/students", { limit: 200 }) : Promise.resolve(undefined)),
    [cluster.value?.name, cluster.value?.generation],
  );
  const { value, problem } = cluster;
  return (
    <>
      <h1>{say("cluster.title")}</h1>
      {isAbsent(problem) ? <p class="hint">{say("cluster.none")}</p> : <ProblemMessage problem={problem} />}
      {value && (
        <>
          <ClusterFacts cluster={value} />
          <h2>{say("cluster.nodes")}</h2>
          <NodeTable nodes={value.nodes} />
          <h2>{say("cluster.students")}</h2>
          {isAbsent(students.problem) || <ProblemMessage problem={students.problem} />}
          <StudentTable students={students.value ?? []} />
        </>
      )}
      {!value && !problem && <p class="empty">{say("page.loading")}</p>}
    </>
  );
}

function ClusterFacts({ cluster }: { cluster: ClusterAnswer }) {
  const { name, kubernetesVersion, endpoint, etcdMode, state, readyMasters, authorityHash, generation } =
    cluster;
  const facts: [string, ComponentChildren][] = [
    [say("cluster.name"), <ForeignText text={name} />],
    [say("cluster.state"), <StateWord state={state} />],
    ["Kubernetes", kubernetesVersion],
    [say("cluster.endpoint"), <code>{endpoint}</code>],
    [say("cluster.readyMasters"), String(readyMasters)],
    ["etcd", say(keyOf("cluster.etcd", etcdMode))],
    [say("cluster.generation"), String(generation)],
    [say("cluster.authority"), <code class="foreign">{authorityHash}</code>],
  ];
  return (
    <dl class="facts">
      {facts.map(([title, text]) => (
        <div key={title}>
          <dt>{title}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  );
}

function NodeTable({ nodes }: { nodes: readonly ClusterNode[] }) {
  return (
    <Table
      caption={say("cluster.nodes")}
      items={nodes}
      keyOf={({ machine }) => machine}
      empty={say("cluster.noNodes")}
      columns={[
        {
          title: say("events.machine"),
          cell: ({ machine }) => (
            <a href={pathTo({ view: "machine", machine })}>
              <ForeignText text={machine} limit={32} />
            </a>
          ),
        },
        { title: say("cluster.role"), cell: ({ role }) => say(keyOf("cluster", role)) },
        { title: say("cluster.state"), cell: ({ state }) => <StateWord state={state} /> },
        { title: say("cluster.since"), cell: ({ since }) => ago(since), isWide: true },
        { title: say("facts.address"), cell: ({ address }) => address ?? "–", isWide: true },
        {
          title: say("cluster.problem"),
          cell: ({ problem }) => problem !== null && <ForeignText text={problem} limit={300} />,
        },
      ]}
    />
  );
}

function StudentTable({ students }: { students: readonly Student[] }) {
  const use = (text: string | null) => text ?? "–";
  const [chosen, choose] = useState<Student>();
  return (
    <>
      <Table
        caption={say("cluster.students")}
        items={students}
        keyOf={({ name }) => name}
        empty={say("cluster.noStudents")}
        columns={[
          { title: say("cluster.student"), cell: ({ name }) => <ForeignText text={name} limit={64} /> },
          {
            title: say("cluster.namespace"),
            cell: ({ namespace }) => <code>{namespace}</code>,
            isWide: true,
          },
          { title: say("cluster.state"), cell: ({ state }) => <StateWord state={state} /> },
          { title: say("cluster.pods"), cell: ({ pods }) => use(pods), isNumber: true },
          { title: "CPU", cell: ({ cpu }) => use(cpu), isNumber: true },
          { title: "RAM", cell: ({ memory }) => use(memory), isNumber: true },
          {
            title: say("cluster.problem"),
            cell: ({ problem }) => problem !== null && <ForeignText text={problem} limit={300} />,
            isWide: true,
          },
          {
            title: say("cluster.quota"),
            cell: (student) => (
              <button type="button" class="button is-small" onClick={() => choose(student)}>
                {say("images.show")}
                <span class="unseen">
                  {" "}
                  <ForeignText text={student.name} limit={64} />
                </span>
              </button>
            ),
          },
        ]}
      />
      {chosen && <StudentQuota student={chosen} onClose={() => choose(undefined)} />}
    </>
  );
}
