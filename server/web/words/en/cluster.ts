export const clusterWords = {
  "cluster.title": "Cluster",
} as const;
