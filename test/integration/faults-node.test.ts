import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { ExecError, run } from '../../src/linux/exec.ts';
import {
  awaitUsed,
  describeLab,
  eventually,
  labName,
  lacking,
  logLines,
  readDump,
  rulesOf,
  withNodePort,
} from './daemon-lab.ts';
import { createDual, Stage } from './fault-lab.ts';
import { describeUnless } from './requires.ts';

const [nodeA] = nodes;
const manyServices = 150;

/** Keeps calls of iptables-restore back while `hold` is there, from the nth on; a check of the tool isn't one. */
const wrapper = `#!/bin/sh
program=\${0##*/}
case " $* " in
  *" --test "*) ;;
  *)
    echo >> "$HOLD.$program"
    if [ "$(wc -l < "$HOLD.$program")" -ge "$HOLD_FROM" ] && [ -e "$HOLD" ]; then
      echo "$program" >> "$HOLD.held"
      while [ -e "$HOLD" ]; do sleep 0.02; done
    fi ;;
esac
PATH=\${PATH#*:}
exec "$program" "$@"
`;

describeLab('what befalls a daemon, under traffic', () => {
  let lab: Lab;
  let stage: Stage;

  beforeAll(async () => {
    lab = await createLab({ name: labName('fn') });
    stage = await Stage.build(lab);
    const directory = join(lab.directory, 'wrappers');
    mkdirSync(directory);
    for (const program of ['iptables-nft-restore', 'ip6tables-nft-restore']) {
      writeFileSync(join(directory, program), wrapper, { mode: 0o755 });
    }
  });
  afterAll(async () => {
    await lab.close();
  });

  /** Environment with the wrappers, and the file that holds calls back. */
  function held(name: string, from: number): { env: Record<string, string>; file: string } {
    const file = join(lab.directory, name);
    const { PATH = '' } = process.env;
    const path = `${join(lab.directory, 'wrappers')}:${PATH}:/usr/sbin:/usr/bin:/sbin:/bin`;
    return { env: { HOLD: file, HOLD_FROM: String(from), PATH: path }, file };
  }

  /** Everything that the daemon wants is in the kernel. */
  async function awaitAllOk(services: number): Promise<void> {
    await eventually(async () => {
      const { families } = await readDump(lab, nodeA.name);
      for (const { comparison, services: ports } of families) {
        expect(comparison).toBe('steady');
        expect(ports.filter(({ state }) => state !== 'ok')).toEqual([]);
        expect(ports.length).toBeGreaterThanOrEqual(services);
      }
    }, 20_000);
  }

  test('kill -9 between two parts of a large load: the next daemon completes it', () =>
    stage.withoutLoss(async () => {
      await lab.stopDaemon(nodeA.name);
      await Promise.all(
        Array.from({ length: manyServices }, (_, n) => {
          const nodePort = 31000 + n;
          const addresses = { clusterIP: `10.96.8.${n}`, clusterIP6: `fd00:10:96::8${String(n).padStart(3, '0')}` };
          const fields = { name: `many-${n}`, ...addresses, ports: withNodePort(nodePort), nodePort };
          return createDual(lab, fields, lab.pods);
        }),
      );
      const { env, file } = held('hold-load', 2);
      writeFileSync(file, '');
      await lab.startDaemon(nodeA.name, { env, awaitReady: false });
      await eventually(() => expect(existsSync(`${file}.held`)).toBe(true));
      await lab.stopDaemon(nodeA.name, 'SIGKILL');
      const rules = await rulesOf(lab, nodeA.name);
      // Some of it is there, and not all.
      const count = (rules.match(/-A KUBE-SERVICES .*default\/many-\d+:tcp cluster IP/g) ?? []).length;
      expect(count).toBeLessThan(manyServices);
      expect(rules).toMatch(/default\/many-\d+/);
      await stage.move();
      rmSync(file);
      await lab.startDaemon(nodeA.name);
      await stage.awaitMoved();
      await stage.expectMoved();
      await awaitAllOk(2 * manyServices);
    }));

  test('kill -9 while a change is on its way to the kernel, and that arrives after the next daemon is ready: repaired', () =>
    stage.withoutLoss(async () => {
      const { env, file } = held('hold-change', 1);
      const configuration = (text: string) => `${text}iptables: { syncPeriod: 2s }\n`;
      await lab.stopDaemon(nodeA.name);
      await lab.startDaemon(nodeA.name, { env, configuration });
      await awaitAllOk(2 * manyServices);
      writeFileSync(file, '');
      await stage.move();
      await eventually(() => expect(existsSync(`${file}.held`)).toBe(true));
      await lab.stopDaemon(nodeA.name, 'SIGKILL');
      await stage.move(); // back again: for the next daemon nothing has changed
      await lab.startDaemon(nodeA.name, { configuration });
      const logged = logLines(lab, nodeA.name).length;
      rmSync(file);
      const repairs = () =>
        logLines(lab, nodeA.name)
          .slice(logged)
          .filter(({ msg }) => msg.includes('repaired'));
      await eventually(() => expect(repairs().length).toBeGreaterThan(0));
      await stage.awaitMoved();
      await stage.expectMoved();
      await awaitAllOk(2 * manyServices);
    }));

  test('two daemons started at once: one of them writes; when it dies the other does', () =>
    stage.withoutLoss(async () => {
      await lab.stopDaemon(nodeA.name);
      const names = ['first', 'second'] as const;
      const two = await Promise.all(names.map(as => lab.startDaemon(nodeA.name, { as, awaitReady: false })));
      await stage.awaitMoved(20_000);
      const writer = () => names.filter(name => isWriting(lab, name));
      await eventually(() => {
        const said = names.map(
          name => logLines(lab, name).filter(({ msg }) => msg.includes('writes the rules')).length,
        );
        expect(said).toEqual([1, 1]); // both had their turn: the later one asked the earlier one to hand over
        expect(writer()).toHaveLength(1);
      });
      await stage.move();
      await stage.awaitMoved();
      const [killed] = writer();
      await lab.stopDaemon(killed!, 'SIGKILL');
      await stage.move();
      await stage.awaitMoved();
      await stage.expectMoved();
      await awaitAllOk(2 * manyServices);
      const [other] = names.filter(name => name !== killed);
      expect(isWriting(lab, other!)).toBe(true);
      for (const name of names) await lab.stopDaemon(name);
      expect(await Promise.all(two.map(({ ended }) => ended))).toHaveLength(2);
      await lab.startDaemon(nodeA.name);
    }));
});

/** What keeps a namespace of this kernel from having tables of iptables-legacy; '' when nothing does. */
async function findLegacyObstacle(): Promise<string> {
  if (lacking !== '') return lacking;
  try {
    await run('unshare', ['--net', 'iptables-legacy-save', '-t', 'nat']);
    return '';
  } catch (error) {
    if (error instanceof ExecError) return error.message;
    throw error;
  }
}

/** By its log: it has begun to write and hasn't handed over since. */
function isWriting(lab: Lab, name: string): boolean {
  const turns = logLines(lab, name).filter(({ msg }) => /writes the rules|handed over/.test(msg));
  return turns.at(-1)?.msg.includes('writes the rules') ?? false;
}

describeUnless(await findLegacyObstacle(), 'iptables-legacy, under traffic', () => {
  let lab: Lab;
  let stage: Stage;
  const configuration = (text: string) =>
    `${text}---\napiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\niptables: { variant: legacy }\n`;

  beforeAll(async () => {
    lab = await createLab({ name: labName('fl'), daemons: false });
    await Promise.all(nodes.map(({ name }) => lab.startDaemon(name, { configuration })));
    stage = await Stage.build(lab);
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
  });
  afterAll(async () => {
    await lab.close();
  });

  test('somebody holds the xtables lock for 10 s: a change waits, connections don’t', () =>
    stage.withoutLoss(async () => {
      const { XTABLES_LOCKFILE: lockFile = '' } = lab.env(nodeA.name);
      const holder = spawn('flock', [lockFile, 'sh', '-c', 'echo held; exec sleep 10'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = new Promise(resolve => holder.on('close', resolve));
      await new Promise(resolve => holder.stdout.once('data', resolve));
      const since = performance.now();
      await stage.move();
      await stage.awaitMoved(20_000);
      expect(performance.now() - since).toBeGreaterThan(9000);
      await stage.expectMoved();
      await ended;
    }));
});
