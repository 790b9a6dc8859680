import type { RoleParameter } from "../../domain/role.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";
import { fieldText, type RoleParameterList, type TypedParameters } from "./role-parameters.ts";

/** The parameters of a role, each with its default until somebody writes something else. */
export function ParameterFields({
  parameters,
  typed,
  onChange,
}: {
  parameters: RoleParameterList;
  typed: TypedParameters;
  onChange: (typed: TypedParameters) => void;
}) {
  const all = Object.entries(parameters);
  if (all.length === 0) return null;
  return (
    <details class="parameters">
      <summary>{say("assign.parameters", { count: all.length })}</summary>
      {all.map(([name, parameter]) => (
        <ParameterField
          key={name}
          name={name}
          parameter={parameter}
          value={typed[name] ?? fieldText(parameter.default)}
          onChange={(value) => onChange({ ...typed, [name]: value })}
        />
      ))}
    </details>
  );
}

function ParameterField({
  name,
  parameter: { type, description },
  value,
  onChange,
}: {
  name: string;
  parameter: RoleParameter;
  value: string | boolean;
  onChange: (value: string | boolean) => void;
}) {
  const hint = (
    <span class="hint">
      <ForeignText text={description} limit={300} />
      {type === "string[]" && ` ${say("assign.lineEach")}`}
    </span>
  );
  if (type === "boolean")
    return (
      <div class="field">
        <label class="check">
          <input
            type="checkbox"
            checked={value === true || value === "true"}
            onChange={({ currentTarget }) => onChange(currentTarget.checked)}
          />
          <code>{visibleText(name, 64)}</code>
        </label>
        {hint}
      </div>
    );
  const text = String(value);
  const common = { spellcheck: false, autocomplete: "off" } as const;
  return (
    <label class="field">
      <span>
        <code>{visibleText(name, 64)}</code>
      </span>
      {type === "string[]" ? (
        <textarea
          {...common}
          rows={3}
          value={text}
          onInput={({ currentTarget }) => onChange(currentTarget.value)}
        />
      ) : (
        <input
          {...common}
          inputMode={type === "integer" ? "numeric" : "text"}
          value={text}
          onInput={({ currentTarget }) => onChange(currentTarget.value)}
        />
      )}
      {hint}
    </label>
  );
}
