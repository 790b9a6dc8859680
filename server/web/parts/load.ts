import { useCallback, useEffect, useRef, useState } from "preact/hooks";

/** What was asked of the server once; `reload` asks again and keeps showing what there was. */
export interface Loaded<T> {
  /** Undefined: it has not come yet. */
  readonly value: T | undefined;
  /** What the last question was refused with, for `ProblemMessage`. */
  readonly problem: unknown;
  readonly isLoading: boolean;
  readonly reload: () => void;
}

/**
 * @param ask anew whenever one of `about` changes
 * @example const roles = useLoaded(() => api.all<Role>("/roles"), []);
 */
export function useLoaded<T>(ask: (signal: AbortSignal) => Promise<T>, about: readonly unknown[]): Loaded<T> {
  const [turn, setTurn] = useState(0);
  // `key`: what was asked about. A dialog whose choice has changed must not take the plan of the last choice for its own, not for a moment.
  const [answer, setAnswer] = useState<{ value?: T; problem?: unknown; isLoading: boolean; key?: string }>({
    isLoading: true,
  });
  const latest = useRef(ask);
  latest.current = ask;
  const key = JSON.stringify(about);
  useEffect(() => {
    const abort = new AbortController();
    setAnswer((before) => ({ ...before, isLoading: true, key }));
    latest.current(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) setAnswer({ value, isLoading: false, key });
      },
      (problem: unknown) => {
        if (!abort.signal.aborted) setAnswer((before) => ({ ...before, problem, isLoading: false }));
      },
    );
    return () => abort.abort();
  }, [key, turn]);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  const isLoading = answer.isLoading || answer.key !== key;
  return { value: answer.value, problem: answer.problem, isLoading, reload };
}

/** What is written, once the writer pauses: until then what it was before. @param value compared as JSON */
export function useSettled<T>(value: T, pauseMs = 300): T {
  const [settled, setSettled] = useState(value);
  const key = JSON.stringify(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), pauseMs);
    return () => clearTimeout(timer);
  }, [key]);
  return settled;
}

/** Something that the reader set off: is it under way, and what was it refused with? */
export function useAction(): {
  readonly isBusy: boolean;
  readonly problem: unknown;
  /** @returns whether it went well */
  readonly run: (act: () => Promise<void>) => Promise<boolean>;
} {
  const [state, setState] = useState<{ isBusy: boolean; problem?: unknown }>({ isBusy: false });
  const run = useCallback(async (act: () => Promise<void>) => {
    setState({ isBusy: true });
    try {
      await act();
      setState({ isBusy: false });
      return true;
    } catch (problem) {
      setState({ isBusy: false, problem });
      return false;
    }
  }, []);
  return { ...state, problem: state.problem, run };
}
