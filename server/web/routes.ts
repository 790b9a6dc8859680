/** The addresses of the dashboard; pure. A view has a line in each of the three places below. */

export const basePath = "/dashboard/";

export type Route =
  | { readonly view: "rooms" }
  | { readonly view: "room"; readonly room: string }
  | { readonly view: "machine"; readonly machine: string }
  | { readonly view: "cluster" }
  | { readonly view: "images" }
  | { readonly view: "events" }
  | { readonly view: "operations" }
  | { readonly view: "operation"; readonly operation: string }
  | { readonly view: "sign-in" }
  | { readonly view: "nowhere" };

export function pathTo(route: Route): string {
  const segments = (): readonly string[] => {
    switch (route.view) {
      case "rooms":
        return [];
      case "room":
        return ["rooms", route.room];
      case "machine":
        return ["machines", route.machine];
      case "operation":
        return ["operations", route.operation];
      case "cluster":
      case "images":
      case "events":
      case "operations":
      case "sign-in":
      case "nowhere":
        return [route.view];
    }
  };
  return basePath + segments().map(encodeURIComponent).join("/");
}

/** @param path of the address, e.g. `/dashboard/rooms/lab225` */
export function routeOf(path: string): Route {
  const words = segmentsOf(path);
  if (!words) return { view: "nowhere" };
  const [first, second, ...more] = words;
  if (more.length > 0) return { view: "nowhere" };
  if (first === undefined) return { view: "rooms" };
  if (second === undefined) {
    switch (first) {
      case "rooms":
      case "cluster":
      case "images":
      case "events":
      case "operations":
      case "sign-in":
        return { view: first };
      default:
        return { view: "nowhere" };
    }
  }
  switch (first) {
    case "rooms":
      return { view: "room", room: second };
    case "machines":
      return { view: "machine", machine: second };
    case "operations":
      return { view: "operation", operation: second };
    default:
      return { view: "nowhere" };
  }
}

/** Undefined: it is no address of the dashboard, or one that can't be decoded. */
function segmentsOf(path: string): string[] | undefined {
  if (`${path}/` !== basePath && !path.startsWith(basePath)) return undefined;
  try {
    return path
      .slice(basePath.length)
      .split("/")
      .filter((segment) => segment !== "")
      .map(decodeURIComponent);
  } catch {
    return undefined;
  }
}
