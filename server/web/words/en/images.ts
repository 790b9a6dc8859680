export const imagesWords = {
  "images.title": "Images",
} as const;
