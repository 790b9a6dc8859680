export const clusterWords = {
  "cluster.title": "Klaster",
};
