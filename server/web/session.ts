import { computed, signal } from "@preact/signals";
import { api, Problem, whenSignedOut } from "./api.ts";
import type { Session } from "./api-types.ts";

/** Undefined: nobody is signed in; "unknown": the server has not answered yet. */
export const session = signal<Session | "unknown" | undefined>("unknown");

const signedIn = computed(() => (typeof session.value === "object" ? session.value : undefined));

/** May the reader assign, switch, reset, accept? What is not allowed is not shown; the server refuses it all the same. */
export const mayOperate = computed(
  () => signedIn.value?.scope === "admin" || signedIn.value?.scope === "operator",
);
export const isAdmin = computed(() => signedIn.value?.scope === "admin");
/** A token of some rooms: what is of the whole server is not for it. */
export const isLimited = computed(() => (signedIn.value?.rooms ?? null) !== null);

whenSignedOut(() => {
  session.value = undefined;
});

/** Asks the server who we are. */
export async function askSession(): Promise<void> {
  try {
    session.value = await api.get<Session>("/session");
  } catch (error) {
    if (error instanceof Problem && error.status !== 401) throw error;
    session.value = undefined;
  }
}

/** Between two questions at the start, ms. */
const askAgainMs = 2000;

/** At the start: as often as it takes until the server has said who we are. */
export async function learnSession(): Promise<void> {
  while (session.peek() === "unknown")
    await askSession().catch(() => new Promise((resolve) => setTimeout(resolve, askAgainMs)));
}

/** @throws Problem where the token or link is none */
export async function signIn(proof: { readonly token: string } | { readonly link: string }): Promise<void> {
  session.value = await api.post<Session>("/session", proof);
}

export async function signOut(): Promise<void> {
  await api.delete("/session");
  session.value = undefined;
}
