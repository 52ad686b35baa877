/** Checks of an Event in its stored form, that of core/v1. Source: pkg/apis/core/validation/events.go. */
import { found, invalidValue, requiredValue } from './field-errors.ts';
import type { KubeObject } from './objects.ts';
import type { StatusCause } from './status.ts';

interface EventObject extends KubeObject {
  involvedObject?: { namespace?: string };
  message?: string;
  eventTime?: string | null;
  series?: { count?: number; lastObservedTime?: string | null };
  reportingComponent?: string;
  reportingInstance?: string;
  action?: string;
  reason?: string;
  type?: string;
}

const textLimit = 128;
const noteLimit = 1024;

/** Events of objects without a namespace are kept in `default`. */
function checkNamespace({ metadata, involvedObject }: EventObject): StatusCause | undefined {
  const about = involvedObject?.namespace ?? '';
  const isRight = about === '' ? metadata.namespace === 'default' : metadata.namespace === about;
  return isRight ? undefined : invalidValue('involvedObject.namespace', about, 'does not match event.namespace');
}

function checkText(event: EventObject, field: 'reportingInstance' | 'action' | 'reason'): StatusCause | undefined {
  const text = event[field] ?? '';
  if (text === '') return requiredValue(field);
  return text.length > textLimit ? invalidValue(field, text, `can have at most ${textLimit} characters`) : undefined;
}

function checkSeries({ series }: EventObject): StatusCause[] {
  if (series === undefined) return [];
  const { count = 0, lastObservedTime } = series;
  return found(
    count < 2 ? invalidValue('series.count', count, 'should be at least 2') : undefined,
    lastObservedTime ? undefined : requiredValue('series.lastObservedTime'),
  );
}

/** What has an eventTime is an Event of the new kind, and must be complete; those of the old kind may be nearly empty. */
export function checkEvent(object: KubeObject): StatusCause[] {
  const event = object as EventObject;
  const namespace = found(checkNamespace(event));
  if (!event.eventTime) return namespace;
  const { reportingComponent = '', type = '', message = '' } = event;
  return [
    ...namespace,
    ...found(
      reportingComponent === '' ? requiredValue('reportingController') : undefined,
      ...(['reportingInstance', 'action', 'reason'] as const).map(field => checkText(event, field)),
      ['Normal', 'Warning'].includes(type) ? undefined : invalidValue('type', type, 'has invalid value'),
      Buffer.byteLength(message) > noteLimit
        ? invalidValue('message', '', `can have at most ${noteLimit} characters`)
        : undefined,
    ),
    ...checkSeries(event),
  ];
}
