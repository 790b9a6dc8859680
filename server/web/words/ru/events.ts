export const eventsWords = {
  "events.title": "События",
};
