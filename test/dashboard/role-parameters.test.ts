import t from "tap";
import { chosenParameters, fieldText } from "../../server/web/views/role-parameters.ts";

const parameters = {
  user: { type: "string", default: "student", description: "" },
  seconds: { type: "integer", default: 10, description: "" },
  autologin: { type: "boolean", default: true, description: "" },
  sshKeys: { type: "string[]", default: ["a"], description: "" },
} as const;

t.test("only what differs from the role's defaults is sent, in its own type", (t) => {
  t.same(chosenParameters(parameters, {}), {});
  t.same(
    chosenParameters(parameters, { user: "student", seconds: "10", autologin: true, sshKeys: "a\n" }),
    {},
    "what was written back to its default is none",
  );
  t.same(chosenParameters(parameters, { user: "", seconds: " 20 ", autologin: false, sshKeys: "a\n\n b " }), {
    user: "",
    seconds: 20,
    autologin: false,
    sshKeys: ["a", "b"],
  });
  t.same(
    chosenParameters(parameters, { seconds: "2.5" }),
    { seconds: "2.5" },
    "the server says what is wrong",
  );
  t.same(chosenParameters(parameters, { constructor: "x" }), {}, "what the role has not is left out");
  t.end();
});

t.test("a default stands in its field as it would be written", (t) => {
  t.same(
    Object.values(parameters).map((parameter) => fieldText(parameter.default)),
    ["student", "10", "true", "a"],
  );
  t.end();
});
