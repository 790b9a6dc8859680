import type { en } from "./en.ts";
import { clusterWords } from "./pl/cluster.ts";
import { eventsWords } from "./pl/events.ts";
import { imagesWords } from "./pl/images.ts";
import { machineWords } from "./pl/machine.ts";
import { operationsWords } from "./pl/operations.ts";
import { pageWords } from "./pl/page.ts";
import { roomWords } from "./pl/room.ts";
import { roomActionWords } from "./pl/room-actions.ts";
import type { Translation } from "./phrase.ts";

export const pl: Translation<typeof en> = {
  ...pageWords,
  ...roomWords,
  ...roomActionWords,
  ...machineWords,
  ...clusterWords,
  ...imagesWords,
  ...eventsWords,
  ...operationsWords,
};
