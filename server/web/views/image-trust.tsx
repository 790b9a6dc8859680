import { api, at } from "../api.ts";
import type { ContainerImage, PolicyAnswer, SignaturesAnswer } from "../image-types.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { StateWord } from "../parts/state-word.tsx";
import { Table } from "../parts/table.tsx";
import { ago } from "../parts/text.ts";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";

/** Each signature of an image, with the server's verdict and its reason. */
export function ImageSignatures({ image, onClose }: { image: ContainerImage; onClose: () => void }) {
  const { repository, tag } = image;
  const { value, problem } = useLoaded(
    (signal) => api.get<SignaturesAnswer>(at`/images/${repository}/signatures`, { tag }, signal),
    [repository, tag],
  );
  const signatures = value?.items.flatMap((item) => item.signatures);
  return (
    <Dialog
      title={say("images.signaturesOf", { image: visibleText(`${repository}:${tag}`, 80) })}
      onClose={onClose}
    >
      <ProblemMessage problem={problem} />
      {signatures ? (
        <Table
          caption={say("images.signatures")}
          items={signatures}
          keyOf={({ fingerprint, signedAt, format }) => `${fingerprint} ${signedAt} ${format}`}
          empty={say("images.noSignatures")}
          columns={[
            {
              title: say("images.signer"),
              cell: ({ signer, fingerprint }) =>
                signer === null ? (
                  <code class="foreign">{fingerprint}</code>
                ) : (
                  <ForeignText text={signer} limit={64} />
                ),
            },
            {
              title: say("images.verdict"),
              cell: ({ accepted, refusal }) => (
                <>
                  <StateWord state={accepted ? "signed" : "refused"} />{" "}
                  {refusal !== null && <ForeignText text={refusal} limit={300} />}
                </>
              ),
            },
            { title: say("images.signed"), cell: ({ signedAt }) => ago(signedAt) },
            { title: say("images.format"), cell: ({ format }) => format, isWide: true },
          ]}
        />
      ) : (
        !problem && <p class="empty">{say("page.loading")}</p>
      )}
    </Dialog>
  );
}

/** What the nodes are told to trust, by scope and as the files that they get. */
export function ImagePolicy() {
  const { value, problem } = useLoaded((signal) => api.get<PolicyAnswer>("/registry/policy", {}, signal), []);
  if (!value) return <ProblemMessage problem={problem} />;
  return (
    <>
      <p>{say(value.others === "refused" ? "images.othersRefused" : "images.othersTaken")}</p>
      {value.scopes.length > 0 && (
        <Table
          caption={say("images.policy")}
          items={value.scopes}
          keyOf={({ scope }) => scope}
          columns={[
            { title: say("images.scope"), cell: ({ scope }) => <ForeignText text={scope} limit={120} /> },
            {
              title: say("images.needs"),
              cell: ({ needsSignature, signers }) =>
                needsSignature ? (
                  <>
                    {say("images.signedBy")} <ForeignText text={signers.join(", ")} limit={120} />
                  </>
                ) : (
                  say("images.needsNothing")
                ),
            },
          ]}
        />
      )}
      {value.files.map(({ path, text }) => (
        <details key={path}>
          <summary>
            <code>{path}</code>
          </summary>
          <pre class="policy-file" tabIndex={0}>
            {text}
          </pre>
        </details>
      ))}
    </>
  );
}
