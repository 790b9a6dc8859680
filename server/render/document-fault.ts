import type { RoleFaultCode } from "../domain/reported-codes.ts";

/** Where in a text, from 1. */
export interface TextPlace {
  readonly line: number;
  readonly column: number;
}

/** What is wrong with a template or with the document that came of it. */
export class DocumentFault extends Error {
  readonly code: RoleFaultCode;
  /** Without its place. */
  readonly sentence: string;
  readonly at: TextPlace | undefined;
  /** `isRendered`: the place is one of the document and not of the template. */
  constructor(
    code: RoleFaultCode,
    sentence: string,
    { at, isRendered = false }: { at?: TextPlace | undefined; isRendered?: boolean } = {},
  ) {
    super(at ? `line ${at.line}${isRendered ? " as rendered" : ""}: ${sentence}` : sentence);
    this.code = code;
    this.sentence = sentence;
    this.at = at;
  }
}

/** All faults of one document, of which the first speaks. */
export class DocumentFaults extends Error {
  readonly faults: readonly DocumentFault[];
  constructor(faults: readonly DocumentFault[]) {
    super(faults[0]?.message ?? "");
    this.faults = faults;
  }
}
