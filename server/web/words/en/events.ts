export const eventsWords = {
  "events.title": "Events",
} as const;
