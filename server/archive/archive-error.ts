export type ArchiveErrorCode =
  | "ARCHIVE_DAMAGED"
  | "ARCHIVE_DIGEST_MISMATCH"
  | "ARCHIVE_DISK_TOO_SMALL"
  | "ARCHIVE_NAME_INVALID"
  | "ARCHIVE_NOT_READABLE"
  | "ARCHIVE_NOT_WRITABLE"
  | "ARCHIVE_PLATFORM_MISSING"
  | "ARCHIVE_PLATFORM_TWICE"
  | "ARCHIVE_REFUSED"
  | "ARCHIVE_TOO_LARGE"
  | "ARCHIVE_TOOL_MISSING"
  | "ARCHIVE_UNKNOWN"
  | "SIGN_FAILED"
  | "SIGN_KEY_INVALID"
  | "SIGN_UNSUPPORTED"
  | "TRANSFER_ADDRESS_UNKNOWN"
  | "TRANSFER_CANCELLED"
  | "TRANSFER_NOT_FOUND"
  | "TRANSFER_REFUSED"
  | "TRANSFER_UNAUTHORIZED"
  | "TRANSFER_UNREACHABLE";

/** What went wrong with an archive of images or on the way to a registry, and what to do about it. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
  readonly code: ArchiveErrorCode;
  readonly advice: string;

  constructor(code: ArchiveErrorCode, message: string, advice: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.advice = advice;
  }
}

/** The octets are not what they should be: nothing can be done with this copy. */
export function damaged(file: string, problem: string): ArchiveError {
  return new ArchiveError(
    "ARCHIVE_DAMAGED",
    `${file}: ${problem}`,
    "Copy or make the archive again, and compare its sha256sum with the original's.",
  );
}
