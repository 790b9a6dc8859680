/** Longer ones are stack traces. */
const maximumCharacters = 500;

export interface LogLine {
  readonly isFatal: boolean;
  readonly message: string;
}

/** A line of etcd's log: JSON of zap, or of Go itself when it panics. */
export function readLogLine(text: string): LogLine {
  let line: { level?: unknown; msg?: unknown; error?: unknown } | undefined;
  if (text.startsWith("{")) {
    try {
      line = JSON.parse(text) as typeof line;
    } catch {
      // A line that was cut off; it is shown as it is.
    }
  }
  if (!line || typeof line.msg !== "string")
    return { isFatal: /^(panic|fatal error):/.test(text), message: text.slice(0, maximumCharacters) };
  const message = typeof line.error === "string" ? `${line.msg}: ${line.error}` : line.msg;
  return {
    isFatal: line.level === "fatal" || line.level === "panic",
    message: message.slice(0, maximumCharacters),
  };
}
