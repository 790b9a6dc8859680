import { createHash } from "node:crypto";

export interface Part {
  /** As the header `Content-Type` has it. */
  readonly type: string;
  readonly name: string;
  readonly text: string;
  /** How a cloud-config is merged into those before it (cloud-init docs, "Merging user data sections"). */
  readonly mergeType?: string;
}

/** Several documents of cloud-init in one (MIME, RFC 2046 s.5.1.3). The same parts make the same octets. */
export function multipart(parts: readonly Part[]): string {
  const written = parts.map(({ type, name, text, mergeType }) => {
    // What is no ASCII goes through mail's encoding, as cloud-init's own make-mime does it.
    const isAscii = /^[\t\n\r\u0020-\u007e]*$/.test(text);
    return [
      `Content-Type: ${type}; charset="${isAscii ? "us-ascii" : "utf-8"}"`,
      "MIME-Version: 1.0",
      `Content-Transfer-Encoding: ${isAscii ? "7bit" : "base64"}`,
      `Content-Disposition: attachment; filename="${name}"`,
      ...(mergeType === undefined ? [] : [`Merge-Type: ${mergeType}`]),
      "",
      isAscii
        ? text
        : (
            Buffer.from(text)
              .toString("base64")
              .match(/.{1,76}/g) ?? []
          ).join("\n"),
    ].join("\n");
  });
  // A line that no part can have by chance; one that has it on purpose would have to have its own digest in it.
  const boundary = `rollcall-${createHash("sha256").update(written.join("\n")).digest("hex").slice(0, 32)}`;
  return [
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    "MIME-Version: 1.0",
    "",
    ...written.map((part) => `--${boundary}\n${part}`),
    `--${boundary}--`,
    "",
  ].join("\n");
}
