import { useState } from "preact/hooks";
import { connection } from "../live.ts";
import { route } from "../router.ts";
import { pathTo, type Route } from "../routes.ts";
import { isLimited, session, signOut } from "../session.ts";
import { chooseLanguage, chooseTheme, theme, themes } from "../settings.ts";
import { keyOf, language, languages, locale, say } from "../words.ts";
import { ForeignText } from "./foreign-text.tsx";
import { MenuIcon, SignOutIcon } from "./icons.tsx";
import { timeText } from "./format.ts";
import "./header.css";

const views = ["rooms", "cluster", "images", "events", "operations"] as const;
/** Of the whole server: a token of some rooms has nothing there. */
const ofWholeServer: ReadonlySet<string> = new Set(["cluster", "images"]);

/** Which of the views above a page belongs to. */
const sections: Readonly<Record<Route["view"], (typeof views)[number] | undefined>> = {
  rooms: "rooms",
  room: "rooms",
  machine: "rooms",
  cluster: "cluster",
  images: "images",
  events: "events",
  operations: "operations",
  operation: "operations",
  "sign-in": undefined,
  nowhere: undefined,
};

export function Header() {
  const [isOpen, setOpen] = useState(false);
  const section = sections[route.value.view];
  const shown = views.filter((view) => !(isLimited.value && ofWholeServer.has(view)));
  return (
    <header class="page-head">
      <a class="brand" href={pathTo({ view: "rooms" })}>
        <Logo />
        Rollcall
      </a>
      <ConnectionMark />
      <button
        type="button"
        class="icon-button page-menu"
        aria-label={say("page.menu")}
        aria-expanded={isOpen}
        aria-controls="page-parts"
        onClick={() => setOpen(!isOpen)}
      >
        <MenuIcon />
      </button>
      <div id="page-parts" class={isOpen ? "page-parts is-open" : "page-parts"}>
        <nav class="page-views" aria-label={say("page.views")} onClick={() => setOpen(false)}>
          {shown.map((view) => (
            <a href={pathTo({ view })} aria-current={section === view ? "page" : undefined}>
              {say(keyOf("nav", view))}
            </a>
          ))}
        </nav>
        <Settings />
        <Reader />
      </div>
    </header>
  );
}

function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="6" fill="currentColor" />
      <path d="M7 9h4v4H7zM14 9h4v4h-4zM21 9h4v4h-4zM7 16h4v4H7zM14 16h4v4h-4z" class="logo-seats" />
      <path d="M19.5 19.5l3 3 5-6" fill="none" class="logo-tick" stroke-width="3" />
    </svg>
  );
}

export function Settings() {
  return (
    <div class="page-settings">
      <select
        aria-label={say("page.language")}
        value={language.value}
        onChange={({ currentTarget: { value } }) =>
          void chooseLanguage(value as keyof typeof languages).catch(() => {})
        }
      >
        {Object.entries(languages).map(([tag, name]) => (
          <option value={tag} lang={tag} selected={tag === language.value}>
            {name}
          </option>
        ))}
      </select>
      <select
        aria-label={say("page.theme")}
        value={theme.value}
        onChange={({ currentTarget: { value } }) => chooseTheme(value as (typeof themes)[number])}
      >
        {themes.map((name) => (
          <option value={name} selected={name === theme.value}>
            {say(keyOf("theme", name))}
          </option>
        ))}
      </select>
    </div>
  );
}

function Reader() {
  const reader = session.value;
  if (typeof reader !== "object") return null;
  return (
    <div class="reader">
      <span class="reader-name" title={say("page.signedInAs", { name: reader.name })}>
        <ForeignText text={reader.name} limit={24} /> <small>{say(keyOf("scope", reader.scope))}</small>
      </span>
      <button
        type="button"
        class="icon-button"
        aria-label={say("action.signOut")}
        title={say("action.signOut")}
        onClick={() => void signOut().catch(() => {})}
      >
        <SignOutIcon />
      </button>
    </div>
  );
}

function ConnectionMark() {
  const { state } = connection.value;
  const word = {
    connecting: "connection.connecting",
    live: "connection.live",
    lost: "connection.connecting",
  } as const;
  return <span class={`connection is-${state}`}>{say(word[state])}</span>;
}

/** Over every view while the server is out of reach: nobody may take old news for new. */
export function ConnectionNotice() {
  const at = connection.value;
  if (at.state !== "lost") return null;
  const time = timeText(new Date(at.since).toISOString(), at.since, locale.value);
  return (
    <div class="connection-notice" role="alert">
      {say("connection.lostSince", { time })}
    </div>
  );
}
