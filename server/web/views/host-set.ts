/** How the machines of a dialog are named to the API; pure. */
export const hostSetOf = (machines: readonly { readonly name: string }[]): string =>
  machines.map(({ name }) => name).join(",");
