import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { ExecError, run as runProgram } from '../../linux/exec.ts';
import { type KernelCallOptions, type Plan, UnreadableError } from '../backend.ts';
import type { IptablesIO } from './apply.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject, Table } from './objects.ts';
import { othersThatUse, parse } from './parse.ts';

export const TABLES: readonly Table[] = ['filter', 'nat'];

/** iptables-nft-save of a large table takes a second or two; this is for a tool that hangs. */
const TIMEOUT_MS = 60_000;

/** iptables-nft-save asks the kernel many times, and may give up, or end in the middle, when somebody commits meanwhile. */
const ATTEMPTS = 5;
const RETRY_MS = 50;

/** As much of the end of a save as shows whether it is whole. */
const END_LENGTH = 500;

/** What the tables hold. */
export interface Reading {
  readonly plan: Plan<IptablesObject>;
  /** See `fingerprint`. */
  readonly fingerprint: string;
}

/** Our objects in the kernel. Rejects with ExecError when the tool is missing or fails. */
export async function readPlan(io: IptablesIO): Promise<Plan<IptablesObject>> {
  return (await readTables(io)).plan;
}

/** What is in a variant that nothing of this node may be using. */
export interface Existing {
  readonly plan: Plan<IptablesObject>;
  /** Chains of others that have packets marked by KUBE-MARK-MASQ, to be masqueraded. */
  readonly marking: readonly string[];
}

/**
 * Our objects in the tables that the kernel has by now: with `-t`, the legacy tools make it load those that it hasn't. Rejects as `readPlan` does.
 */
export async function readExisting(io: IptablesIO): Promise<Existing> {
  const plan: Plan<IptablesObject> = new Map();
  const marking: string[] = [];
  const { text } = await saveText(io, undefined);
  for (const section of text.split(/^(?=\*)/m)) {
    const table = TABLES.find(name => section.startsWith(`*${name}\n`));
    if (table === undefined) continue;
    for (const [key, object] of parse(section, table)) plan.set(key, object);
    if (table === 'nat') marking.push(...othersThatUse(CHAIN.markMasq, section, table));
  }
  return { plan, marking };
}

/** Our objects in one table. Rejects as `readPlan` does. */
export async function readTable(io: IptablesIO, table: Table): Promise<ReadonlyMap<string, IptablesObject>> {
  return parse((await saveText(io, table)).text, table);
}

/** Our objects in the kernel and the fingerprint of the tables that they are in. Rejects as `readPlan` does. */
export async function readTables(io: IptablesIO): Promise<Reading> {
  const plan: Plan<IptablesObject> = new Map();
  const saves = await Promise.all(TABLES.map(table => saveText(io, table)));
  for (const [i, { text }] of saves.entries()) {
    for (const [key, object] of parse(text, TABLES[i] ?? 'nat')) plan.set(key, object);
  }
  return { plan, fingerprint: saves.map(({ digest }) => digest).join(' ') };
}

/**
 * Stands for all rules of both tables, everybody's, and the names of their chains; not for counters. Cheaper than reading: the
 * text passes by and is not kept. `signal` ends it. Rejects as `readPlan` does.
 */
export async function fingerprint(io: IptablesIO, { signal }: KernelCallOptions = {}): Promise<string> {
  const digests: string[] = [];
  for (const table of TABLES) digests.push(await persist(() => save({ io, table, signal, keep: () => undefined })));
  return digests.join(' ');
}

/** `table` undefined = all that there are. */
async function saveText(io: IptablesIO, table: Table | undefined): Promise<{ text: string; digest: string }> {
  return persist(async () => {
    const chunks: Buffer[] = [];
    const digest = await save({ io, table, keep: chunk => chunks.push(chunk) });
    return { text: Buffer.concat(chunks).toString(), digest };
  });
}

interface Save {
  readonly io: IptablesIO;
  readonly table: Table | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Gets the tool's output in parts. */
  readonly keep: (chunk: Buffer) => unknown;
}

/** Runs the save tool once and resolves to the fingerprint of its output. */
async function save({ io, table, signal, keep }: Save): Promise<string> {
  const { tools, run = runProgram } = io;
  const hash = createHash('sha256');
  let rest = '';
  let end = '';
  let isIncompatible = false;
  const onOutput = (chunk: Buffer) => {
    keep(chunk);
    const text = rest + chunk.toString('latin1');
    const length = text.lastIndexOf('\n') + 1;
    isIncompatible ||= text.includes("' is incompatible, use") && INCOMPATIBLE.test(text);
    hash.update(text.slice(0, length).replaceAll(VOLATILE, ''), 'latin1');
    rest = text.slice(length);
    end = (end + chunk.toString('latin1')).slice(-END_LENGTH);
  };
  const stop = signal === undefined ? {} : { signal };
  const args = table === undefined ? [] : ['-t', table];
  await run(tools.save, args, { timeoutMs: TIMEOUT_MS, onOutput, ...stop });
  if (isIncompatible) throw new UnreadableError(unreadable(tools.save, table));
  if (!isWhole(end)) throw new IncompleteSaveError([tools.save, ...args].join(' '));
  return hash.digest('base64');
}

/** Comments, which have the time, and the counters of chains. */
const VOLATILE = /^#.*\n|\[\d+:\d+\]$/gm;

/** A table that nobody has used prints nothing (nft); any other ends with COMMIT and a comment. */
function isWhole(end: string): boolean {
  return end === '' || /^COMMIT\n(?:#.*\n)*$/m.test(end);
}

/** All that iptables-nft-save says of a table with a rule or chain that only nft can print; iptables-nft-restore still works there. */
const INCOMPATIBLE = /^# Table `\w+' is incompatible, use 'nft' tool\.$/m;

function unreadable(program: string, table: Table | undefined): string {
  const where = table === undefined ? 'a table' : `the table ${table}`;
  return `${program} cannot print ${where}: another program wrote into it with nft ('nft list ruleset' shows what)`;
}

/** The tool ended well, but its output did not. */
class IncompleteSaveError extends Error {
  override readonly name = 'IncompleteSaveError';

  constructor(op: string) {
    super(`${op}: the output ends in the middle`);
  }
}

/** A tool that is missing or was ended stays so; other failures may be a commit of somebody else at the wrong moment. */
async function persist<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await read();
    } catch (error) {
      const mayPass = error instanceof IncompleteSaveError || (error instanceof ExecError && error.exitCode > 0);
      if (!mayPass || attempt === ATTEMPTS) throw error;
      await delay(RETRY_MS * attempt);
    }
  }
}
