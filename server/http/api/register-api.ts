import type { FastifyInstance } from "fastify";
import { type AssignmentApiDeps, registerAssignmentApi } from "./assignments.ts";
import { type ClusterApiDeps, registerClusterApi } from "./cluster.ts";
import { installAudit } from "./audit.ts";
import { type CommandApiDeps, registerCommandApi } from "./commands.ts";
import { type ContainerImageApiDeps, registerContainerImageApi } from "./container-images.ts";
import { type DoctorApiDeps, registerDoctorApi } from "./doctor.ts";
import { createEventStreams } from "./event-streams.ts";
import { type EventApiDeps, registerEventApi } from "./events.ts";
import { type ExamApiDeps, registerExamApi } from "./exams.ts";
import { type GroupApiDeps, registerGroupApi } from "./groups.ts";
import { type ImageApiDeps, registerImageApi } from "./images.ts";
import { type KeyApiDeps, registerKeyApi } from "./keys.ts";
import { type LiveApiDeps, registerLiveApi } from "./live.ts";
import { type MachineListApiDeps, registerMachineListApi } from "./machine-lists.ts";
import { type MachineApiDeps, registerMachineApi } from "./machines.ts";
import { type MachinePowerApiDeps, registerMachinePowerApi } from "./machine-power.ts";
import { type OperationApiDeps, registerOperationApi } from "./operations.ts";
import { type PrewarmApiDeps, registerPrewarmApi } from "./prewarm.ts";
import { type RegistryApiDeps, registerRegistryApi } from "./registry.ts";
import { type RoleApiDeps, registerRoleApi } from "./roles.ts";
import { registerStudentApi, type StudentApiDeps } from "./students.ts";
import { registerScheduleApi, type ScheduleApiDeps } from "./schedules.ts";
import { registerTimelineApi, type TimelineApiDeps } from "./timeline.ts";
import { registerTokenApi, type TokenApiDeps } from "./tokens.ts";

export type ApiDeps = MachineApiDeps &
  MachineListApiDeps &
  GroupApiDeps &
  DoctorApiDeps &
  MachinePowerApiDeps &
  CommandApiDeps &
  TimelineApiDeps &
  AssignmentApiDeps &
  RoleApiDeps &
  EventApiDeps &
  LiveApiDeps &
  ImageApiDeps &
  RegistryApiDeps &
  ContainerImageApiDeps &
  TokenApiDeps &
  ClusterApiDeps &
  StudentApiDeps &
  KeyApiDeps &
  ExamApiDeps &
  OperationApiDeps &
  PrewarmApiDeps &
  ScheduleApiDeps & {
    /** Writes down what waits for the next commit. */
    readonly settle: () => void;
  };

/** /api/v1: one file per noun. */
export async function registerApi(app: FastifyInstance, deps: ApiDeps): Promise<void> {
  // Events and phases may wait a moment for company on their way to the store: who asks is told of them all the same.
  app.addHook("onRequest", (_request, _reply, done) => {
    deps.settle();
    done();
  });
  installAudit(app, deps.record);
  registerMachineApi(app, deps);
  registerMachineListApi(app, deps);
  registerGroupApi(app, deps);
  registerDoctorApi(app, deps);
  registerMachinePowerApi(app, deps);
  registerCommandApi(app, deps);
  registerTimelineApi(app, deps);
  registerAssignmentApi(app, deps);
  registerRoleApi(app, deps);
  const streams = createEventStreams(app, deps.clock);
  registerEventApi(app, deps, streams);
  registerLiveApi(app, deps, streams);
  registerImageApi(app, deps);
  registerRegistryApi(app, deps);
  registerContainerImageApi(app, deps);
  registerTokenApi(app, deps);
  registerClusterApi(app, deps);
  registerStudentApi(app, deps);
  registerKeyApi(app, deps);
  registerPrewarmApi(app, deps);
  registerExamApi(app, deps);
  registerOperationApi(app, deps);
  registerScheduleApi(app, deps);
}
