import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import "./menu.css";

export interface MenuItem {
  readonly text: string;
  readonly onChoose: () => void;
}

/** A button with a few choices below it: arrow keys move among them, Escape goes back to the button. */
export function Menu({ label, items }: { label: ComponentChildren; items: readonly MenuItem[] }) {
  const [isOpen, setOpen] = useState(false);
  const place = useRef<HTMLDivElement>(null);
  const id = useId();
  const choices = () => [...(place.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
  const close = () => {
    setOpen(false);
    place.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (isOpen) choices()[0]?.focus();
  }, [isOpen]);

  function onKeyDown(event: KeyboardEvent): void {
    if (event.key === "ArrowDown" && !isOpen) setOpen(true);
    else if (!isOpen) return;
    else if (event.key === "Escape") close();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const all = choices();
      const at = all.findIndex((one) => one === document.activeElement);
      all.at((at + (event.key === "ArrowDown" ? 1 : -1)) % all.length)?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return (
    <div
      class="menu"
      ref={place}
      onKeyDown={onKeyDown}
      onFocusOut={({ relatedTarget }) => {
        if (!(relatedTarget instanceof Node && place.current?.contains(relatedTarget))) setOpen(false);
      }}
    >
      <button
        type="button"
        class="button"
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-controls={isOpen ? id : undefined}
        onClick={() => setOpen(!isOpen)}
      >
        {label}
      </button>
      {isOpen && (
        <div class="menu-list" role="menu" id={id}>
          {items.map(({ text, onChoose }) => (
            <button
              key={text}
              type="button"
              role="menuitem"
              tabIndex={-1}
              onClick={() => {
                close();
                onChoose();
              }}
            >
              {text}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
