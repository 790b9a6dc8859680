export type ImageErrorCode =
  | "IMAGE_RECIPE_INVALID"
  | "IMAGE_TOOL_MISSING"
  | "IMAGE_DISK_TOO_SMALL"
  | "IMAGE_OUTPUT_NOT_WRITABLE"
  | "IMAGE_BUILD_FAILED"
  | "IMAGE_BUILD_CANCELLED"
  | "IMAGE_ARCHIVE_INVALID"
  | "IMAGE_CATALOGUE_INVALID"
  | "IMAGE_DIGESTS_INVALID"
  | "IMAGE_DIGEST_MISMATCH"
  | "IMAGE_DOWNLOAD_CUT"
  | "IMAGE_FILE_MISMATCH"
  | "IMAGE_FILE_MISSING"
  | "IMAGE_IMPORT_BUSY"
  | "IMAGE_IMPORT_CANCELLED"
  | "IMAGE_INDEX_INVALID"
  | "IMAGE_SIGNATURE_INVALID"
  | "IMAGE_SOURCE_NOT_FOUND"
  | "IMAGE_SOURCE_REFUSED"
  | "IMAGE_SOURCE_TOO_LARGE"
  | "IMAGE_SOURCE_UNREACHABLE"
  | "IMAGE_UNKNOWN"
  | "IMAGE_UNVERIFIED";

/** What went wrong with an image, and what its maker can do about it. */
export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly code: ImageErrorCode;
  readonly advice: string;

  constructor(code: ImageErrorCode, message: string, advice: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.advice = advice;
  }
}
