import type { ComponentChildren } from "preact";
import { api, at } from "../api.ts";
import type { HardwareAnswer, MachineFacts } from "../machine-types.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { bytes, time } from "../parts/text.ts";
import { say } from "../words.ts";

type Fact = readonly [title: string, value: ComponentChildren];

const foreign = (text: string | null) =>
  text === null || text === "" ? null : <ForeignText text={text} limit={200} />;

/** What is known of the machine, and what its own system found in it. */
export function MachineFactsPart({ facts }: { facts: MachineFacts }) {
  const { value, problem } = useLoaded(
    (signal) => api.get<HardwareAnswer>(at`/machines/${facts.name}/hardware`, {}, signal),
    [facts.name],
  );
  return (
    <>
      <FactList facts={[...known(facts), ...(value ? found(value) : [])]} />
      <ProblemMessage problem={problem} />
      {value && !value.hardware && <p class="hint">{say("facts.noHardware")}</p>}
    </>
  );
}

function known(machine: MachineFacts): Fact[] {
  const labels = Object.entries(machine.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
  return [
    ["MAC", foreign(machine.macs.join(", "))],
    [say("facts.address"), foreign(machine.currentAddress ?? machine.address)],
    [say("facts.seat"), foreign(machine.seat)],
    [say("facts.runs"), foreign(machine.runs)],
    [say("facts.product"), foreign([machine.manufacturer, machine.product].filter(Boolean).join(" "))],
    [say("facts.serial"), foreign(machine.serial)],
    ["UUID", foreign(machine.uuid)],
    [say("facts.firmware"), foreign([machine.arch, machine.firmware].filter(Boolean).join(", "))],
    ["Secure Boot", machine.secureBoot === null ? null : say(machine.secureBoot ? "facts.on" : "facts.off")],
    [say("facts.power"), foreign(machine.power?.method ?? null)],
    [say("facts.labels"), foreign(labels)],
  ];
}

function found({ hardware, sharesUuidWith }: HardwareAnswer): Fact[] {
  const shared: Fact[] =
    sharesUuidWith.length > 0 ? [[say("facts.sharesUuid"), foreign(sharesUuidWith.join(", "))]] : [];
  if (!hardware) return shared;
  const { cpu, memoryBytes, disks, nics, reportedAt } = hardware;
  return [
    ...shared,
    [
      "CPU",
      foreign(
        [cpu.model, cpu.cores === null ? null : say("facts.cores", { count: cpu.cores })]
          .filter(Boolean)
          .join(", "),
      ),
    ],
    ["RAM", memoryBytes === null ? null : bytes(memoryBytes)],
    ...disks.map(({ name, sizeBytes, model }): Fact => [
      name,
      <>
        {bytes(sizeBytes)} {foreign(model)}
      </>,
    ]),
    ...nics.map(({ name, mac, speedMbit, neighbour }): Fact => [
      name,
      <>
        {foreign(mac)} {speedMbit !== null && `${speedMbit} Mbit/s`}{" "}
        {neighbour && foreign(`${neighbour.systemName ?? ""} ${neighbour.portId}`)}
      </>,
    ]),
    [say("facts.reported"), time(reportedAt)],
  ];
}

/** What is not known is left out. */
function FactList({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== null)
        .map(([title, value]) => (
          <div key={title}>
            <dt>
              <ForeignText text={title} limit={40} />
            </dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
