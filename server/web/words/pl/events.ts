export const eventsWords = {
  "events.title": "Zdarzenia",
};
