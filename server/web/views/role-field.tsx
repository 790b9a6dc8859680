import { api } from "../api.ts";
import type { Role } from "../api-types.ts";
import { byName } from "../parts/format.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { type Loaded, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";

/** The roles that there are, for `RoleField`. */
export const useRoles = (): Loaded<readonly Role[]> => useLoaded(() => api.all<Role>("/roles"), []);

/** Chooses one of the roles that there are, and says what it is. @param role empty: none is chosen yet */
export function RoleField({
  roles,
  role,
  onChange,
}: {
  roles: Loaded<readonly Role[]>;
  role: string;
  onChange: (role: string) => void;
}) {
  const sorted = (roles.value ?? []).toSorted((left, right) => byName(left.name, right.name));
  const chosen = sorted.find(({ name }) => name === role);
  return (
    <div class="field">
      <label class="field">
        <span>{say("assign.role")}</span>
        <select autofocus value={role} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
          <option value="">{say("assign.choose")}</option>
          {sorted.map(({ name }) => (
            <option key={name} value={name} selected={name === role}>
              {visibleText(name, 40)}
            </option>
          ))}
        </select>
      </label>
      {chosen && (
        <p class="hint role-description">
          <ForeignText text={chosen.description} limit={300} />
        </p>
      )}
      <ProblemMessage problem={roles.problem} />
    </div>
  );
}
