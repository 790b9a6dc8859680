import type { ComponentChildren } from "preact";

/** Our own signs, drawn on 16 by 16 in lines. Each stands beside a word or in a button that has a name. */
function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg
      class="icon"
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const CloseIcon = () => (
  <Icon>
    <path d="M3.5 3.5l9 9M12.5 3.5l-9 9" />
  </Icon>
);
export const MenuIcon = () => (
  <Icon>
    <path d="M2 4h12M2 8h12M2 12h12" />
  </Icon>
);
export const PowerIcon = () => (
  <Icon>
    <path d="M8 1.5v6M4.6 3.6a5.5 5.5 0 1 0 6.8 0" />
  </Icon>
);
export const AssignIcon = () => (
  <Icon>
    <path d="M2 8h8M7 4.5L10.5 8 7 11.5M13.5 2.5v11" />
  </Icon>
);
export const ResetIcon = () => (
  <Icon>
    <path d="M13 8a5 5 0 1 1-1.6-3.7M13.2 1.8v3h-3" />
  </Icon>
);
export const DetailsIcon = () => (
  <Icon>
    <path d="M2.5 3.5h11v7h-11zM5.5 13.5h5M8 10.5v3" />
  </Icon>
);
export const LockIcon = () => (
  <Icon>
    <path d="M3.5 7h9v6.5h-9zM5.5 7V4.8a2.5 2.5 0 0 1 5 0V7" />
  </Icon>
);
export const ChevronIcon = () => (
  <Icon>
    <path d="M4 6l4 4 4-4" />
  </Icon>
);
export const SunMoonIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="5.5" />
    <path d="M8 2.5v11a5.5 5.5 0 0 0 0-11z" fill="currentColor" stroke="none" />
  </Icon>
);
export const SignOutIcon = () => (
  <Icon>
    <path d="M6.5 2.5h-4v11h4M6 8h7.5M10.5 5l3 3-3 3" />
  </Icon>
);
