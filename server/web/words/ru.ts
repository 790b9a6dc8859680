import type { en } from "./en.ts";
import { clusterWords } from "./ru/cluster.ts";
import { eventsWords } from "./ru/events.ts";
import { imagesWords } from "./ru/images.ts";
import { machineWords } from "./ru/machine.ts";
import { operationsWords } from "./ru/operations.ts";
import { pageWords } from "./ru/page.ts";
import { roomWords } from "./ru/room.ts";
import { roomActionWords } from "./ru/room-actions.ts";
import type { Translation } from "./phrase.ts";

export const ru: Translation<typeof en> = {
  ...pageWords,
  ...roomWords,
  ...roomActionWords,
  ...machineWords,
  ...clusterWords,
  ...imagesWords,
  ...eventsWords,
  ...operationsWords,
};
