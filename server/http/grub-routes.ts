import type { FastifyInstance } from "fastify";
import { readGrubFacts } from "../boot/grub-config.ts";
import type { BootService } from "../boot/boot-service.ts";
