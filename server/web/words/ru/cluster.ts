export const clusterWords = {
  "cluster.title": "Кластер",
};
