export const machineWords = {
  "machine.title": "Компьютер {name}",
};
