export const operationsWords = {
  "operations.title": "Operacje",
};
