/** Who may do what in the container registry, put together. */
import type { Config } from "./config/schema.ts";
import type { Clock, Log } from "./domain/capabilities.ts";
import { type AccessDeps, createAccess } from "./http/v2/access.ts";
import { createPasswordThread } from "./http/v2/password-thread.ts";
import { createPasswordUsers } from "./http/v2/password-users.ts";

export interface KeptAccessDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly store: { readonly tokens: AccessDeps["tokens"] };
  readonly failures: AccessDeps["failures"];
}

export function keepAccess({ config, clock, log, failures, store: { tokens } }: KeptAccessDeps) {
  const { htpasswdFile: file, users: bound, insecurePush, anonymousPull } = config.registry;
  const thread = createPasswordThread();
  const users = file === undefined ? undefined : createPasswordUsers({ ...thread, clock, log, file, bound });
  return {
    access: createAccess({ clock, tokens, users, failures, insecurePush, anonymousPull }),
    stop: thread.stop,
  };
}
