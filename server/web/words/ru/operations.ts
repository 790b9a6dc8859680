export const operationsWords = {
  "operations.title": "Операции",
};
