/** What the event log answers, `GET /api/v1/events`. */
export interface LogEvent {
  readonly seq: number;
  readonly at: string;
  readonly type: string;
  readonly level: "info" | "warning" | "alarm";
  readonly machine: string | null;
  readonly actor: string | null;
  readonly message: string;
}

/** Which events are shown; undefined: all. */
export interface EventChoice {
  /** A type or its beginning: `machine`. */
  readonly type?: string | undefined;
  readonly machine?: string | undefined;
  readonly actor?: string | undefined;
  /** Since then, ISO 8601. */
  readonly from?: string | undefined;
}
