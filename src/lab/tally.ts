/** Who answered a probe, and whether that's as it should be (pure). */
import type { PodPlace } from './manifests.ts';
import type { ProbeReport } from './probe.ts';

/** Answers by pod name. */
export function tally(report: ProbeReport): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { pod } of report.replies) counts.set(pod, (counts.get(pod) ?? 0) + 1);
  return counts;
}

/**
 * What is wrong with a probe of `count` connections that should spread evenly and at random over `pods`; empty when all is well.
 * A pod's share may be six standard deviations off: by chance that happens once in about 500 million times.
 */
export function findFaults(report: ProbeReport, pods: readonly PodPlace[], count: number): string[] {
  return [...findMissing(report, count), ...findStrangers(report, pods), ...findImbalance(report, pods, count)];
}

function findMissing({ replies, failures }: ProbeReport, count: number): string[] {
  const faults: string[] = [];
  const kinds = [...new Set(failures.map(({ error }) => error))].join(', ');
  if (failures.length > 0) faults.push(`${failures.length} of ${count} connections failed: ${kinds}`);
  if (replies.length + failures.length !== count)
    faults.push(`${replies.length + failures.length} of ${count} were made`);
  return faults;
}

function findStrangers({ replies }: ProbeReport, pods: readonly PodPlace[]): string[] {
  const known = new Map(pods.map(pod => [pod.name, pod]));
  const isRight = (reply: { pod: string; node: string; ip: string }) => {
    const pod = known.get(reply.pod);
    return pod?.ip === reply.ip && pod.node === reply.node;
  };
  const strangers = new Set(replies.filter(reply => !isRight(reply)).map(({ pod, ip }) => `${pod} (${ip})`));
  return strangers.size === 0 ? [] : [`answered by what is no pod of the Service: ${[...strangers].join(', ')}`];
}

function findImbalance(report: ProbeReport, pods: readonly PodPlace[], count: number): string[] {
  const counts = tally(report);
  const share = 1 / pods.length;
  const tolerance = 6 * Math.sqrt(count * share * (1 - share));
  return pods.flatMap(({ name }) => {
    const answers = counts.get(name) ?? 0;
    if (answers > 0 && Math.abs(answers - count * share) <= tolerance) return [];
    return [`${name} answered ${answers} of ${count} connections instead of about ${Math.round(count * share)}`];
  });
}
