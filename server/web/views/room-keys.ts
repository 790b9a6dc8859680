/** Where the arrow keys lead, by where the seats stand on the screen: on the plan, in a list, on a phone alike. */

/** @returns id of the machine there; undefined: the key leads nowhere */
export function nextPlace(key: string, from: string, area: HTMLElement): string | undefined {
  const seats = [...area.querySelectorAll<HTMLElement>("[data-machine]")];
  const at = seats.findIndex((seat) => seat.dataset["machine"] === from);
  const current = seats[at];
  if (!current) return undefined;
  const found = (): HTMLElement | undefined => {
    switch (key) {
      case "ArrowRight":
        return seats[at + 1] ?? current;
      case "ArrowLeft":
        return seats[at - 1] ?? current;
      case "ArrowDown":
        return nearest(current, seats, 1) ?? current;
      case "ArrowUp":
        return nearest(current, seats, -1) ?? current;
      case "Home":
        return seats[0];
      case "End":
        return seats.at(-1);
      default:
        return undefined;
    }
  };
  return found()?.dataset["machine"];
}

/** The seat straight above (-1) or below (1), or the one beside it in the first row there that has any. */
function nearest(
  from: HTMLElement,
  seats: readonly HTMLElement[],
  direction: 1 | -1,
): HTMLElement | undefined {
  const own = from.getBoundingClientRect();
  const distance = (seat: HTMLElement): number | undefined => {
    const place = seat.getBoundingClientRect();
    const down = direction * (place.top - own.top);
    if (down < own.height / 2) return undefined;
    return down * 4 + Math.abs(place.left - own.left);
  };
  let best: HTMLElement | undefined;
  let least = Infinity;
  for (const seat of seats) {
    const far = distance(seat);
    if (far !== undefined && far < least) [best, least] = [seat, far];
  }
  return best;
}
