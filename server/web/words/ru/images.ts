export const imagesWords = {
  "images.title": "Образы",
};
