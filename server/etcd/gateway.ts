import { request } from "node:https";
import type { IncomingMessage } from "node:http";
import type { DurationMs } from "../domain/capabilities.ts";
import { EtcdRefused, EtcdUnreachable } from "../domain/error-catalogue.ts";
import type { ClientCredentials } from "./credentials.ts";
import type { EtcdMember } from "./membership.ts";
import { saveSnapshot, type SnapshotFile } from "./snapshot-file.ts";

/** The time limit of a call that answers at once, ms. */
const standardLimitMs: DurationMs = 5_000;
/** A snapshot may take this long in all, ms, and pause this long. */
const snapshotLimitMs: DurationMs = 10 * 60_000;
const snapshotPauseMs: DurationMs = 30_000;
/** The longest answer, octets: a list of members has some hundred each. */
const maximumAnswerBytes = 1024 * 1024;

export interface EtcdStatus {
  readonly memberId: string;
  readonly clusterId: string;
  readonly version: string;
  /** Octets that the database takes on the disk. */
  readonly databaseBytes: number;
  /** Undefined while the member knows no leader. */
  readonly leaderId: string | undefined;
  readonly isLearner: boolean;
  /** Revision of the keys; it counts up with each change. */
  readonly revision: string;
}

export interface EtcdAlarm {
  readonly memberId: string;
  /** `NOSPACE`: the quota is reached, and nothing can be written until it is disarmed. `CORRUPT`: members have different data. */
  readonly alarm: string;
}

/**
 * One etcd, by the JSON gateway of its v3 API, over TLS with client certificates. Every call has a time limit.
 * Each one throws EtcdUnreachable when nobody answers in time, and EtcdRefused with etcd's own words.
 */
export interface EtcdGateway {
  readonly endpoint: string;
  /** Whether it has a leader and commits (`GET /health`); it never throws. */
  isHealthy(): Promise<boolean>;
  status(): Promise<EtcdStatus>;
  members(): Promise<readonly EtcdMember[]>;
  /** @returns the new member, which has no name until it starts */
  addLearner(peerUrl: string): Promise<EtcdMember>;
  removeMember(id: string): Promise<void>;
  /** @throws EtcdRefused while the learner has not caught up */
  promoteMember(id: string): Promise<void>;
  alarms(): Promise<readonly EtcdAlarm[]>;
  /** Whether it is there or not. */
  deleteKey(key: string): Promise<void>;
  /**
   * Writes a snapshot of this member into a file: all of it with the right digest, on the disk, or nothing. A member without a quorum gives
   * one, too.
   * @throws EtcdSnapshotBroken
   */
  snapshot(file: string): Promise<SnapshotFile>;
}

interface RawMember {
  readonly ID?: string;
  readonly name?: string;
  readonly peerURLs?: readonly string[];
  readonly clientURLs?: readonly string[];
  readonly isLearner?: boolean;
}

const toMember = ({ ID, name, peerURLs, clientURLs, isLearner }: RawMember): EtcdMember => ({
  id: ID ?? "0",
  name: name ?? "",
  peerUrls: peerURLs ?? [],
  clientUrls: clientURLs ?? [],
  isLearner: isLearner ?? false,
});

export function createEtcdGateway({
  endpoint,
  authorityPem,
  credentials,
  limitMs = standardLimitMs,
}: {
  /** `https://10.0.0.1:2379` */
  readonly endpoint: string;
  readonly authorityPem: string;
  readonly credentials: ClientCredentials;
  readonly limitMs?: DurationMs;
}): EtcdGateway {
  /** Sends a request and gives the answer's head; the answer has to be read. */
  const send = async (
    method: "GET" | "POST",
    path: string,
    body: string,
    signal: AbortSignal,
  ): Promise<IncomingMessage> => {
    const { certificatePem, privateKeyPem } = await credentials();
    return new Promise((resolve, reject) => {
      const sent = request(
        `${endpoint}${path}`,
        {
          method,
          headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
          ca: authorityPem,
          cert: certificatePem,
          key: privateKeyPem,
          // Calls are rare, and a connection that is kept would show a certificate that has ended.
          agent: false,
          signal,
        },
        resolve,
      );
      sent.on("error", reject);
      sent.end(body);
    });
  };

  const unreachable = (error: unknown) =>
    EtcdUnreachable({ endpoint, reason: reasonOf(error as NodeJS.ErrnoException) });

  const ask = async (method: "GET" | "POST", path: string, body: unknown) => {
    try {
      const answer = await send(
        method,
        path,
        method === "GET" ? "" : JSON.stringify(body),
        AbortSignal.timeout(limitMs),
      );
      return { status: answer.statusCode ?? 0, text: await readText(answer) };
    } catch (error) {
      throw unreachable(error);
    }
  };

  const call = async <Answer>(path: string, body: unknown): Promise<Answer> => {
    const { status, text } = await ask("POST", path, body);
    if (status !== 200) throw refused(path, text, status);
    try {
      return JSON.parse(text) as Answer;
    } catch {
      throw EtcdRefused({ endpoint, call: path, reason: "its answer is no JSON", grpcCode: 2 });
    }
  };

  const refused = (path: string, text: string, status: number) => {
    let answer: { error?: string; message?: string; code?: number } = {};
    try {
      answer = JSON.parse(text) as typeof answer;
    } catch {
      // An answer of HTTP alone: its status has to do.
    }
    const reason = answer.message ?? answer.error ?? `HTTP status ${status}`;
    return EtcdRefused({ endpoint, call: path, reason: reason.slice(0, 300), grpcCode: answer.code ?? 2 });
  };

  return {
    endpoint,
    async isHealthy() {
      try {
        const { status, text } = await ask("GET", "/health", undefined);
        return status === 200 && (JSON.parse(text) as { health?: unknown }).health === "true";
      } catch {
        return false;
      }
    },
    async status() {
      const answer = await call<{
        header?: { cluster_id?: string; member_id?: string; revision?: string };
        version?: string;
        dbSize?: string;
        leader?: string;
        isLearner?: boolean;
      }>("/v3/maintenance/status", {});
      // The gateway leaves out what is zero.
      const leader = answer.leader ?? "0";
      return {
        memberId: answer.header?.member_id ?? "0",
        clusterId: answer.header?.cluster_id ?? "0",
        version: answer.version ?? "",
        databaseBytes: Number(answer.dbSize ?? 0),
        leaderId: leader === "0" ? undefined : leader,
        isLearner: answer.isLearner ?? false,
        revision: answer.header?.revision ?? "0",
      };
    },
    async members() {
      const { members } = await call<{ members?: readonly RawMember[] }>("/v3/cluster/member/list", {});
      return (members ?? []).map(toMember);
    },
    async addLearner(peerUrl) {
      const { member } = await call<{ member?: RawMember }>("/v3/cluster/member/add", {
        peerURLs: [peerUrl],
        isLearner: true,
      });
      return toMember(member ?? {});
    },
    async removeMember(id) {
      await call("/v3/cluster/member/remove", { ID: id });
    },
    async promoteMember(id) {
      await call("/v3/cluster/member/promote", { ID: id });
    },
    async alarms() {
      const { alarms } = await call<{ alarms?: readonly { memberID?: string; alarm?: string }[] }>(
        "/v3/maintenance/alarm",
        { action: "GET" },
      );
      return (alarms ?? []).map(({ memberID, alarm }) => ({
        memberId: memberID ?? "0",
        alarm: alarm ?? "NONE",
      }));
    },
    async deleteKey(key) {
      await call("/v3/kv/deleterange", { key: Buffer.from(key).toString("base64") });
    },
    async snapshot(file) {
      const path = "/v3/maintenance/snapshot";
      const answer = await send("POST", path, "{}", AbortSignal.timeout(snapshotLimitMs)).catch(
        (error: unknown) => {
          throw unreachable(error);
        },
      );
      if (answer.statusCode !== 200)
        throw refused(path, await readText(answer).catch(() => ""), answer.statusCode ?? 0);
      answer.setTimeout(snapshotPauseMs, () => answer.destroy(new Error("it stopped sending")));
      return saveSnapshot(answer, file);
    },
  };
}

/** For people: `connect ECONNREFUSED 10.0.0.1:2379`, or that the time was up. */
function reasonOf({ name, code, message }: NodeJS.ErrnoException): string {
  if (name === "TimeoutError" || code === "ABORT_ERR") return "no answer in time";
  return (message || code || name).slice(0, 200);
}

async function readText(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > maximumAnswerBytes) throw new Error(`an answer of more than ${maximumAnswerBytes} octets`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}
