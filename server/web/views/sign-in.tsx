import { useEffect, useState } from "preact/hooks";
import { useAction } from "../parts/load.ts";
import { Settings } from "../parts/header.tsx";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { navigate, route } from "../router.ts";
import { pathTo } from "../routes.ts";
import { signIn } from "../session.ts";
import { say } from "../words.ts";
import "./sign-in.css";

/** The secret of a one-time link, taken out of the address at once: nobody finds it in the history or over a shoulder. */
function takeLink(): string | undefined {
  const link = new URLSearchParams(location.hash.slice(1)).get("link");
  if (link !== null) history.replaceState(null, "", location.pathname);
  return link === null || link === "" ? undefined : link;
}

/** Shown in place of every view while nobody is signed in; whoever asked for another view gets it afterwards. */
export function SignInView() {
  const [token, setToken] = useState("");
  const [isFromLink, setFromLink] = useState(false);
  const { isBusy, problem, run } = useAction();

  const enter = (proof: { token: string } | { link: string }) =>
    run(async () => {
      await signIn(proof);
      if (route.peek().view === "sign-in") navigate(pathTo({ view: "rooms" }), { replaces: true });
    });
  useEffect(() => {
    const link = takeLink();
    if (link === undefined) return;
    setFromLink(true);
    void enter({ link });
  }, []);

  return (
    <main class="sign-in" id="content">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setFromLink(false);
          void enter({ token: token.trim() });
        }}
      >
        <h1>Rollcall</h1>
        <label>
          <span>{say("signIn.token")}</span>
          <input
            type="password"
            name="token"
            autocomplete="current-password"
            spellcheck={false}
            required
            autofocus
            value={token}
            onInput={({ currentTarget }) => setToken(currentTarget.value)}
          />
        </label>
        <button type="submit" class="button is-main" disabled={isBusy}>
          {isBusy ? say("signIn.busy") : say("signIn.submit")}
        </button>
        {isFromLink && problem !== undefined && <p>{say("signIn.linkFailed")}</p>}
        <ProblemMessage problem={problem} />
        <p class="hint">{say("signIn.hint")}</p>
        <Settings />
      </form>
    </main>
  );
}
