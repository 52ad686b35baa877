import { mkdirSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  answers,
  ask,
  awaitUsed,
  bothProtocols,
  describeLab,
  endpoint,
  eventually,
  fromPod,
  handlesOf,
  type LogLine,
  labName,
  logLines,
  serviceObject,
  sliceObject,
} from './daemon-lab.ts';

const node = nodes[0];
const target = { address: '10.96.6.1', port: 80, count: 20 };

describeLab('a daemon that reads manifests', () => {
  let lab: Lab;
  let onA: PodState;
  let onB: PodState;
  let directory = '';

  beforeAll(async () => {
    lab = await createLab({ name: labName('man'), pods: 2, daemons: false });
    [onA, onB] = lab.pods as [PodState, PodState];
    directory = join(lab.directory, 'manifests');
    mkdirSync(directory);
    write(manifests([onB]));
    await lab.startDaemon(node.name, { args: ['--source', `dir:${directory}`] });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** The Service `file` with these pods, as two documents. */
  function manifests(pods: readonly PodState[], port = 80): string {
    const service = serviceObject({ name: 'file', clusterIP: target.address, ports: [{ ...bothProtocols[0]!, port }] });
    const endpoints = pods.map(pod => endpoint(pod));
    const slice = sliceObject({ name: 'file-1', service: 'file', ports: bothProtocols, endpoints });
    return [service, slice].map(object => stringify(object)).join('---\n');
  }

  /** As editors do it: a new file in the place of the old one. */
  function write(text: string): void {
    writeFileSync(join(directory, '.new'), text);
    renameSync(join(directory, '.new'), join(directory, 'services.yaml'));
  }

  function problemLines(): readonly LogLine[] {
    return logLines(lab, node.name).filter(({ component, object }) => component === 'watch' && object !== undefined);
  }

  const lastProblem = () => {
    const { level, msg } = problemLines().at(-1) ?? { level: 'none', msg: '' };
    return `${level}: ${msg}`;
  };

  test('they are programmed when it is ready, and the API server is not asked', async () => {
    expect(await ask(lab, onA.name, target)).toEqual(answers([onB], fromPod(onA)));
    const ofApi = { address: web.clusterIP, port: web.port, timeoutMs: 300 };
    expect(await ask(lab, onA.name, ofApi)).toEqual(['timeout']);
  });

  test('a broken edit changes no rule, and is reported with file, document and line', async () => {
    const rules = await handlesOf(lab, node.name);
    const text = manifests([onA]);
    write(text.replace('addressType: IPv4', 'addressType: "IPv4'));
    const where = /^warn: services\.yaml: document 2, line \d+: .*; its last good state stays$/;
    await eventually(() => expect(lastProblem()).toMatch(where));
    expect(await handlesOf(lab, node.name)).toBe(rules);
    expect(await ask(lab, onA.name, target)).toEqual(answers([onB], fromPod(onA)));

    write(text);
    await awaitUsed(lab, { service: 'default/file', pods: [onA], on: [node.name] });
    expect(lastProblem()).toBe('info: services.yaml: the problems are gone');
    expect(await ask(lab, onA.name, target)).toEqual(answers([onA], fromPod(onA)));
  });

  test('an impossible field is reported with file, document and field; the rest of the file is followed', async () => {
    write(
      `${manifests([onA, onB])}---\n${stringify(serviceObject({ name: 'bad', clusterIP: '10.96.6.2', ports: [{ port: 70_000 }] }))}`,
    );
    await awaitUsed(lab, { service: 'default/file', pods: lab.pods, on: [node.name] });
    const where =
      'warn: Service default/bad: services.yaml, document 3, spec.ports[0].port: 70000 is not a whole number';
    expect(lastProblem()).toContain(where);

    write(manifests([onB]));
    await awaitUsed(lab, { service: 'default/file', pods: [onB], on: [node.name] });
    expect(await ask(lab, onA.name, target)).toEqual(answers([onB], fromPod(onA)));
    expect(problemLines().map(({ level }) => level)).toEqual(['warn', 'info', 'warn', 'info']);
  });

  test('a file that goes takes its Services along', async () => {
    unlinkSync(join(directory, 'services.yaml'));
    await expect
      .poll(() => ask(lab, onA.name, { ...target, timeoutMs: 300 }), { timeout: 10_000 })
      .toEqual(['timeout']);
  });
});
