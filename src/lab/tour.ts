/** A guided look at a lab: shows what the proxies do, and checks every answer on the way. */
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { styleText } from 'node:util';
import { ExecError } from '../linux/exec.ts';
import { renderTable } from '../text/table.ts';
import { kproxyProgram } from './install.ts';
import type { Lab, ProbeTarget } from './lab.ts';
import { nodes, web, webName } from './layout.ts';
import { servedMode } from './served-mode.ts';
import { findFaults, tally } from './tally.ts';

/** One way to reach the Service. */
interface Path {
  /** The member that connects. */
  readonly from: string;
  readonly label: string;
  readonly to: string;
  readonly target: ProbeTarget;
}

export interface Tour {
  readonly lab: Lab;
  readonly write: (text: string) => void;
  /** Connections on each path. */
  readonly connections: number;
  /** The lab stays up afterwards. */
  readonly staysUp: boolean;
  readonly signal: AbortSignal;
}

/** How long a new pod may take to be reached before the tour calls it a fault. */
const reachDeadlineMs = 15_000;

/** Runs the tour; resolves to what was wrong, in sentences: empty when every answer was right. */
export async function runTour(tour: Tour): Promise<string[]> {
  const { lab, write, connections, signal } = tour;
  write(heading(`The Service '${web.name}', ${connections} connections on each path: who answered`));
  const faults = await showDistribution(tour);
  signal.throwIfAborted();
  write(heading('Its name, from a pod: answered on the node itself'));
  faults.push(...(await showNames(tour)));
  signal.throwIfAborted();
  write(heading('Scaling up by one pod'));
  faults.push(...(await showScaling(tour)));
  write(faults.length === 0 ? `\n${styleText('green', 'Every answer was right.')}\n` : renderFaults(faults));
  write(nextSteps(lab, tour.staysUp, await servedMode(lab.name, nodes[0].name)));
  return faults;
}

function pathsOf(lab: Lab): [Path, ...Path[]] {
  const [first = { name: nodes[0].name, node: nodes[0].name }] = lab.pods;
  const virtual = { address: web.clusterIP, port: web.port };
  const atNode = (node: (typeof nodes)[number]): Path => {
    const target = { address: node.address, port: web.nodePort };
    return { from: 'client', label: 'off-cluster client', to: `NodePort   ${target.address}:${target.port}`, target };
  };
  const pod = { from: first.name, label: `pod ${first.name} on ${first.node}` };
  const to = `ClusterIP  ${virtual.address}:${virtual.port}`;
  return [
    { ...pod, to, target: virtual },
    ...nodes.map(({ name }) => ({ from: name, label: `node ${name}`, to, target: virtual })),
    ...nodes.map(atNode),
    { ...pod, to: `${to} UDP`, target: { ...virtual, protocol: 'udp' } },
    ...(lab.hasIPv6 ? pathsOverIPv6(pod) : []),
  ];
}

function pathsOverIPv6(pod: Pick<Path, 'from' | 'label'>): Path[] {
  const virtual = { address: web.clusterIP6, port: web.port };
  const node = { address: nodes[0].address6, port: web.nodePort };
  return [
    { ...pod, to: `ClusterIP  [${virtual.address}]:${virtual.port}`, target: virtual },
    { from: 'client', label: 'off-cluster client', to: `NodePort   [${node.address}]:${node.port}`, target: node },
  ];
}

/** Probes every path and prints one row for each; returns the faults. */
async function showDistribution({ lab, write, connections, signal }: Tour): Promise<string[]> {
  const rows = [
    ['FROM', 'TO', ...lab.pods.map(pod => pod.name)],
    ['', '', ...lab.pods.map(pod => pod.node)],
  ];
  const faults: string[] = [];
  for (const { from, label, to, target } of pathsOf(lab)) {
    signal.throwIfAborted();
    const report = await lab.probe(from, { ...target, count: connections });
    const counts = tally(report);
    rows.push([label, to, ...lab.pods.map(pod => String(counts.get(pod.name) ?? 0))]);
    const found = findFaults(report, lab.pods, connections);
    faults.push(...found.map(fault => `${label} to ${to.replace(/ +/, ' ')}: ${fault}`));
  }
  write(renderTable(rows));
  return faults;
}

/** What a program in a pod sees that knows nothing but the Service's name. */
async function showNames({ lab, write }: Tour): Promise<string[]> {
  const [pod] = lab.pods;
  if (pod === undefined || !lab.hasDns) return [];
  const commands = [
    ['getent', 'ahosts', web.name],
    ['curl', '--silent', '--show-error', '--max-time', '5', `http://${webName}/`],
  ] as const;
  const faults: string[] = [];
  for (const command of commands) {
    const answer = await lab.exec(pod.name, command).catch((error: unknown) => {
      if (!(error instanceof ExecError)) throw error;
      faults.push(`${pod.name}: ${error.message}`);
      return undefined;
    });
    write(`${pod.name}$ ${command.join(' ')}\n${answer?.stdout.trimEnd() ?? ''}\n`);
  }
  return faults;
}

async function showScaling(tour: Tour): Promise<string[]> {
  const { lab, write } = tour;
  const node = nodes[1].name;
  const [pod] = await lab.preparePods([node]);
  if (pod === undefined) throw new Error('no pod was prepared');
  // Two connections at a time: enough to notice within a few ms, too little to take the processor from the daemons.
  const until = { untilPod: pod.name, count: 1_000_000, concurrency: 2, deadlineMs: reachDeadlineMs };
  const [watched, ...others] = pathsOf(lab);
  const watching = await lab.startProbe(watched.from, { ...watched.target, ...until });
  const { acceptedAt } = await lab.publishPod(pod);
  const { replies } = await watching.report;
  const first = replies.find(reply => reply.pod === pod.name);
  if (first === undefined) return [`${pod.name} wasn't reached within ${reachDeadlineMs} ms`];
  const ms = Math.max(0, first.at - acceptedAt);
  write(
    `${pod.name} on ${node}: ready for the API server, and ${ms.toFixed(0)} ms later it answered its first connection.\n\n`,
  );
  const faults = await awaitEverywhere(tour, others, until);
  return [...faults, ...(await showDistribution(tour))];
}

/** Each node's daemon learns of the change by itself: the counts are only even once both have. */
async function awaitEverywhere(
  { lab }: Tour,
  paths: readonly Path[],
  until: Omit<ProbeTarget, 'address' | 'port'>,
): Promise<string[]> {
  const seen = await Promise.all(
    paths.map(async ({ from, label, to, target }) => {
      const { replies } = await lab.probe(from, { ...target, ...until });
      return replies.some(reply => reply.pod === until.untilPod)
        ? []
        : [`${label} to ${to}: ${until.untilPod} never answered`];
    }),
  );
  return seen.flat();
}

function heading(text: string): string {
  return `\n${styleText('bold', text)}\n`;
}

function renderFaults(faults: readonly string[]): string {
  return `\n${styleText('red', `${faults.length} faults:`)}\n${faults.map(fault => `  ${fault}\n`).join('')}`;
}

/** How a person who stands where we were started calls us. */
function ownCommand(): string {
  const inPath = (process.env.PATH ?? '').split(':').some(directory => existsSync(join(directory, 'kproxy-ts')));
  return inPath ? 'kproxy-ts' : relative(process.cwd(), kproxyProgram);
}

function nextSteps(lab: Lab, staysUp: boolean, mode: string | undefined): string {
  const name = lab.name === 'lab' ? '' : `--name ${lab.name} `;
  const program = ownCommand();
  const inLab = `${program} lab exec ${name}`;
  const steps = [
    [`${inLab}client -- curl -s ${nodes[1].address}:${web.nodePort}`, 'a NodePort, from off-cluster'],
    [`${inLab}control -- kubectl get svc,endpointslices`, 'the API, with any kubectl'],
    [`${inLab}control -- kubectl delete pod ${lab.pods[0]?.name ?? 'web-1'}`, 'one endpoint less'],
    [
      `${inLab}node-a -- ${mode === 'nftables' ? 'nft list table ip kproxy-ts' : 'iptables-save -t nat'}`,
      "a node's rules",
    ],
    [`${inLab}node-a -- kproxy-ts dump`, 'what they mean'],
    [`${inLab}node-a -- kproxy-ts dns query ${webName}`, "where a name's answer is from"],
    [`${program} lab status ${name}`.trimEnd(), 'nodes, pods, daemons'],
  ];
  const title = `To try next${staysUp ? ', from another terminal' : `, after '${program} lab up'`}`;
  return heading(title) + renderTable(steps.map(step => ['', ...step]));
}
