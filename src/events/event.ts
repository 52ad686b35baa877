/**
 * Kubernetes Events as the API takes them. Sources: events.k8s.io/v1 Event, and pkg/apis/core/validation/events.go of Kubernetes 1.36,
 * which wants each field that is here.
 */

/** What an Event is about. */
export interface Regarding {
  readonly kind: 'Node' | 'Service' | 'Pod';
  /** '' for a Node. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** Something that people should hear of by `kubectl describe`. */
export interface Happening {
  readonly regarding: Regarding;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly action: string;
  readonly note: string;
}

/** How often it has happened by now, and when last. */
export interface Series {
  readonly count: number;
  readonly lastMs: number;
}

export interface Reporter {
  /** Which program. */
  readonly controller: string;
  /** Which of its processes: the node. */
  readonly instance: string;
}

const NOTE_BYTES = 1024;
const NAME_LENGTH = 253;

/** Two happenings with one key are one Event that happened twice. */
export function happeningKey({ regarding, type, reason, note }: Happening): string {
  return JSON.stringify([regarding.kind, regarding.namespace, regarding.name, regarding.uid, type, reason, note]);
}

/** Where its Event is kept: that of a Node in `default`, as the API wants it. */
export function eventNamespace({ regarding }: Happening): string {
  return regarding.namespace === '' ? 'default' : regarding.namespace;
}

/** `web.18a4c9f0b3d2e1aa`, as client-go names Events; `sequence` tells those of one millisecond apart. */
export function eventName({ regarding }: Happening, firstMs: number, sequence: number): string {
  const suffix = (BigInt(Math.trunc(firstMs)) * 1_000_000n + BigInt(sequence % 1_000_000)).toString(16);
  return `${regarding.name.slice(0, NAME_LENGTH - 1 - suffix.length)}.${suffix}`;
}

/** The body of a POST. */
export function eventBody(
  happening: Happening,
  name: string,
  { by, firstMs }: { by: Reporter; firstMs: number },
): object {
  const { type, reason, action, note } = happening;
  const { kind, namespace, name: about, uid } = happening.regarding;
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name, namespace: eventNamespace(happening) },
    eventTime: microTime(firstMs),
    reportingController: by.controller,
    reportingInstance: by.instance,
    regarding: { apiVersion: 'v1', kind, name: about, uid, ...(namespace === '' ? {} : { namespace }) },
    type,
    reason,
    action,
    note: shortened(note),
  };
}

/** The body of a PATCH (merge) that says how often it has happened. */
export function seriesBody({ count, lastMs }: Series): object {
  return { series: { count, lastObservedTime: microTime(lastMs) } };
}

/** meta/v1 MicroTime. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

function shortened(note: string): string {
  if (Buffer.byteLength(note) <= NOTE_BYTES) return note;
  const cut = Buffer.from(note)
    .subarray(0, NOTE_BYTES - 3)
    .toString('utf8')
    .replace(/\uFFFD+$/u, '');
  return `${cut}…`;
}
