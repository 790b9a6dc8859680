import { useState } from "preact/hooks";
import { api } from "../api.ts";
import type { ContainerImage, ImageRole, MachineImage, SignerKey } from "../image-types.ts";
import { now } from "../live.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { type Loaded, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { StateWord } from "../parts/state-word.tsx";
import { Table } from "../parts/table.tsx";
import { ago, bytes, time } from "../parts/text.ts";
import { say } from "../words.ts";
import "./machine.css";
import { ImagePolicy, ImageSignatures } from "./image-trust.tsx";

/** Images of the registry with who signed them, those that machines boot, keys, and what nodes are told to trust. */
export function ImagesView() {
  const containers = useLoaded(() => api.all<ContainerImage>("/registry/images", { limit: 200 }), []);
  const images = useLoaded(() => api.all<MachineImage>("/images", { limit: 200 }), []);
  const roles = useLoaded(() => api.all<ImageRole>("/roles", { limit: 200 }), []);
  const keys = useLoaded(() => api.all<SignerKey>("/keys", { limit: 200 }), []);
  return (
    <>
      <h1>{say("images.title")}</h1>
      <h2>{say("images.containers")}</h2>
      <Containers images={containers} />
      <h2>{say("images.machines")}</h2>
      <ProblemMessage problem={images.problem} />
      <MachineImages images={images.value} roles={roles.value ?? []} />
      <h2>{say("images.keys")}</h2>
      <ProblemMessage problem={keys.problem} />
      <Keys keys={keys.value} />
      <h2>{say("images.policy")}</h2>
      <ImagePolicy />
    </>
  );
}

const shortDigest = (digest: string) => digest.replace(/^(sha\d+:.{12}).*$/, "$1");

function Containers({ images: { value, problem } }: { images: Loaded<readonly ContainerImage[]> }) {
  const [chosen, choose] = useState<ContainerImage>();
  return (
    <>
      <ProblemMessage problem={problem} />
      {value && (
        <Table
          caption={say("images.containers")}
          items={value}
          keyOf={({ repository, tag }) => `${repository}:${tag}`}
          empty={say("images.noContainers")}
          columns={[
            {
              title: say("images.name"),
              cell: ({ repository, tag }) => <ForeignText text={`${repository}:${tag}`} limit={80} />,
            },
            {
              title: say("images.digest"),
              cell: ({ digest }) => <code title={digest}>{shortDigest(digest)}</code>,
              isWide: true,
            },
            { title: say("images.state"), cell: ({ state }) => <StateWord state={state} /> },
            {
              title: say("images.signers"),
              cell: ({ signers }) => <ForeignText text={signers.join(", ")} limit={80} />,
            },
            {
              title: say("images.size"),
              cell: ({ sizeBytes }) => (sizeBytes === null ? "–" : bytes(sizeBytes)),
              isNumber: true,
              isWide: true,
            },
            { title: say("images.pushed"), cell: ({ updatedAt }) => ago(updatedAt), isWide: true },
            {
              title: say("images.signatures"),
              cell: (image) => (
                <button type="button" class="button is-small" onClick={() => choose(image)}>
                  {say("images.show")}
                  <span class="unseen">
                    {" "}
                    <ForeignText text={`${image.repository}:${image.tag}`} limit={80} />
                  </span>
                </button>
              ),
            },
          ]}
        />
      )}
      {!value && !problem && <p class="empty">{say("page.loading")}</p>}
      {chosen && <ImageSignatures image={chosen} onClose={() => choose(undefined)} />}
    </>
  );
}

function MachineImages({
  images = [],
  roles,
}: {
  images: readonly MachineImage[] | undefined;
  roles: readonly ImageRole[];
}) {
  const usedBy = (name: string) => roles.filter(({ image }) => image === name).map((role) => role.name);
  return (
    <Table
      caption={say("images.machines")}
      items={images}
      keyOf={({ name, version, arch }) => `${name} ${version} ${arch}`}
      empty={say("images.noMachines")}
      columns={[
        { title: say("images.name"), cell: ({ name }) => <ForeignText text={name} limit={80} /> },
        { title: say("images.version"), cell: ({ version }) => <ForeignText text={version} limit={40} /> },
        { title: say("images.arch"), cell: ({ arch }) => arch, isWide: true },
        { title: say("images.current"), cell: ({ current }) => (current ? say("images.isCurrent") : "") },
        { title: say("images.roles"), cell: ({ name }) => <ForeignText text={usedBy(name).join(", ")} /> },
        {
          title: say("images.size"),
          cell: ({ sizeBytes }) => bytes(sizeBytes),
          isNumber: true,
          isWide: true,
        },
        { title: say("images.added"), cell: ({ addedAt }) => ago(addedAt), isWide: true },
      ]}
    />
  );
}

function Keys({ keys = [] }: { keys: readonly SignerKey[] | undefined }) {
  return (
    <Table
      caption={say("images.keys")}
      items={keys}
      keyOf={({ name }) => name}
      empty={say("images.noKeys")}
      columns={[
        { title: say("images.signer"), cell: ({ name }) => <ForeignText text={name} limit={64} /> },
        {
          title: say("images.scopes"),
          cell: ({ scopes }) => <ForeignText text={scopes.join(", ")} limit={200} />,
        },
        {
          title: say("images.fingerprint"),
          cell: ({ keys: own }) => own.map(({ fingerprint }) => <code class="foreign">{fingerprint} </code>),
          isWide: true,
        },
        {
          title: say("images.state"),
          cell: ({ revokedAt, expiresAt }) => {
            if (revokedAt !== null) return say("images.revoked", { ago: ago(revokedAt) });
            if (expiresAt === null) return say("images.valid");
            return Date.parse(expiresAt) <= now.value
              ? say("images.expired", { ago: ago(expiresAt) })
              : say("images.validUntil", { time: time(expiresAt) });
          },
        },
      ]}
    />
  );
}
