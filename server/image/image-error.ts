export type ImageErrorCode =
  | "IMAGE_RECIPE_INVALID"
  | "IMAGE_TOOL_MISSING"
  | "IMAGE_DISK_TOO_SMALL"
  | "IMAGE_OUTPUT_NOT_WRITABLE"
  | "IMAGE_BUILD_FAILED"
  | "IMAGE_BUILD_CANCELLED";

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
