export const operationsWords = {
  "operations.title": "Operations",
} as const;
