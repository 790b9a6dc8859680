export const machineWords = {
  "machine.title": "Machine {name}",
} as const;
