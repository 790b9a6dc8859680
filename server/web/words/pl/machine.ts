export const machineWords = {
  "machine.title": "Komputer {name}",
};
