import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import { awaitUsed, describeLab, eventually, labName, rulesOf } from './daemon-lab.ts';

const [nodeA] = nodes;

describeLab('the masquerade bit', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('bit') });
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods, family: 'IPv6' });
    // As where a distribution's firewall lets pass only what is asked for: without our mark a new flow gets nowhere.
    for (const tool of ['iptables-nft', 'ip6tables-nft']) await lab.exec(nodeA.name, [tool, '-P', 'FORWARD', 'DROP']);
  });
  afterAll(async () => {
    await lab.close();
  });

  test('changes in the file, again and again, without a packet that loses its masquerade', async () => {
    // A new flow without the mark doesn't pass FORWARD, and one to the other node's pods would be answered past this node. A SYN that
    // is lost is sent again after 1 s: within less, each loss is a failure.
    const targets = [
      { address: web.clusterIP, port: web.port },
      { address: nodeA.address, port: web.nodePort },
      { address: web.clusterIP6, port: web.port },
      { address: nodeA.address6, port: web.nodePort },
    ];
    await using traffic = await lab.traffic('client', { targets, connectionsPerSecond: 300, held: 8, timeoutMs: 900 });
    const file = lab.configurationFile(nodeA.name);
    const base = readFileSync(file, 'utf8');
    for (const bit of [15, 0, 31, 15, 14, 16, 14]) {
      writeFileSync(`${file}.new`, `${base}iptables: { masqueradeBit: ${bit} }\n`);
      renameSync(`${file}.new`, file);
      const mask = `0x${(2 ** bit).toString(16)}`;
      await eventually(async () => {
        for (const tool of ['iptables-nft-save', 'ip6tables-nft-save']) {
          const { stdout } = await lab.exec(nodeA.name, [tool]);
          const marks = [...stdout.matchAll(/ (?:--mark|--set-xmark) (0x[0-9a-f]+)\/0x[0-9a-f]+/g)];
          expect(new Set(marks.map(match => match[1]))).toEqual(new Set([mask]));
        }
      });
    }
    const { failures, answered } = await traffic.stop();
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThan(100);
    expect(await rulesOf(lab, nodeA.name)).toContain('--mark 0x4000/0x4000');
  });
});
