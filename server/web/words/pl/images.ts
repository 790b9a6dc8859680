export const imagesWords = {
  "images.title": "Obrazy",
};
