import { Type } from "typebox";

/** A port of a listener; 0: any that is free. */
export const port = (value: number, description: string) =>
  Type.Integer({ minimum: 0, maximum: 65535, default: value, description });
