/** Codes of the distribution specification (spec.md, "Error Codes") and the status that each has unless told otherwise. */
const statusOf = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  SIZE_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
  // Not in the specification; the distribution project's code for a registry that hangs on another one.
  UNAVAILABLE: 502,
} as const;
export type OciErrorCode = keyof typeof statusOf;

/** What a client of the registry is told; its message says what to do. */
export class OciError extends Error {
  readonly code: OciErrorCode;
  readonly status: number;
  readonly detail: Readonly<Record<string, unknown>> | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: OciErrorCode,
    message: string,
    {
      status,
      detail,
      headers = {},
    }: {
      readonly status?: number;
      readonly detail?: Readonly<Record<string, unknown>>;
      readonly headers?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(message);
    this.name = code;
    this.code = code;
    this.status = status ?? statusOf[code];
    this.detail = detail;
    this.headers = headers;
  }

  /** The body of the answer. */
  toJSON(): object {
    const { code, message, detail } = this;
    return { errors: [{ code, message, ...(detail && { detail }) }] };
  }
}
