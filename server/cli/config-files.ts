/** Where a config is looked for when none is named; the first that is there is taken. */
export const configFiles = ["rollcall.yaml", "/etc/rollcall/rollcall.yaml"] as const;
