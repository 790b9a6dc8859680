import { clusterWords } from "./en/cluster.ts";
import { eventsWords } from "./en/events.ts";
import { imagesWords } from "./en/images.ts";
import { machineWords } from "./en/machine.ts";
import { operationsWords } from "./en/operations.ts";
import { pageWords } from "./en/page.ts";
import { roomWords } from "./en/room.ts";
import { roomActionWords } from "./en/room-actions.ts";

/** All texts in English; their keys are the type of the other languages. */
export const en = {
  ...pageWords,
  ...roomWords,
  ...roomActionWords,
  ...machineWords,
  ...clusterWords,
  ...imagesWords,
  ...eventsWords,
  ...operationsWords,
} as const;
