/** The configuration that comes on the standard input. Pure. */
import { CniError, CODE } from '../types.ts';
import { readAttachments } from './attachments.ts';
import { isIdentifier, type Verb } from './environment.ts';
import { isDeeperThan, isObject, type Json } from './json.ts';
import { readResult } from './read-result.ts';
import { CONFIGURATION_SPELLING, respelledObject } from './spelling.ts';
import {
  IMPLIED_VERSION,
  isAtLeast,
  isSupported,
  LATEST_VERSION,
  type SpecVersion,
  SUPPORTED_VERSIONS,
} from './versions.ts';

export interface Configuration {
  readonly version: SpecVersion;
  readonly name: string;
  /** '' where the configuration doesn't say. */
  readonly type: string;
  /** '' where it doesn't say, or there is no `ipam`. */
  readonly ipamType: string;
  /** Another plugin makes the interface, and has this one give addresses. */
  readonly isDelegated: boolean;
  /** For the agent; see AgentRequest.config. */
  readonly config: Json;
  /** What had to be left out. */
  readonly warnings: readonly string[];
}

/** What reads and writes it calls itself for each level. */
const MAX_DEPTH = 200;

const SINCE: Readonly<Record<Verb, SpecVersion>> = {
  ADD: '0.1.0',
  DEL: '0.1.0',
  CHECK: '0.4.0',
  GC: '1.1.0',
  STATUS: '1.1.0',
};

/** For errors and VERSION, whatever else is wrong with the text. */
export function versionSaid(text: string): string | undefined {
  try {
    const version = decoded(text).cniVersion ?? '';
    return typeof version !== 'string' ? undefined : version === '' ? IMPLIED_VERSION : version;
  } catch (error) {
    if (error instanceof CniError) return undefined;
    throw error;
  }
}

/** @throws CniError 6: no JSON object; 1: a version that can't do this; 7: something else can't be used */
export function readConfiguration(text: string, verb: Verb): Configuration {
  const json = decoded(text);
  const version = versionOf(json, verb);
  const name = json.name ?? '';
  if (name === '') throw wrong('name', 'is missing');
  if (typeof name !== 'string' || !isIdentifier(name))
    throw wrong('name', `${JSON.stringify(name)} has wrong characters`);
  const type = textOf(json.type, 'type');
  const { prevResult, ...rest } = json;
  const previous = previousResult(prevResult, version, verb);
  return {
    ...{ version, name, type },
    ipamType: ipamTypeOf(json.ipam, verb),
    isDelegated: false,
    config: {
      ...rest,
      ...('result' in previous ? { prevResult: previous.result } : {}),
      ...(verb === 'GC' ? { 'cni.dev/valid-attachments': readAttachments(json) } : {}),
    },
    warnings: 'warning' in previous ? [previous.warning] : [],
  };
}

function decoded(text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CniError(CODE.undecodable, 'the configuration is no JSON', error instanceof Error ? error.message : '');
  }
  if (!isObject(value)) throw new CniError(CODE.undecodable, 'the configuration is no JSON object');
  if (isDeeperThan(value, MAX_DEPTH))
    throw new CniError(CODE.undecodable, `the configuration is nested more than ${MAX_DEPTH} levels deep`);
  return respelledObject(value, CONFIGURATION_SPELLING);
}

function versionOf(json: Json, verb: Verb): SpecVersion {
  const said = json.cniVersion ?? '';
  if (typeof said !== 'string') throw new CniError(CODE.undecodable, 'cniVersion: must be a string');
  const version = said === '' ? IMPLIED_VERSION : said;
  if (!isSupported(version)) {
    const details = `asked for ${JSON.stringify(version)}, supported are ${SUPPORTED_VERSIONS.join(', ')}`;
    throw new CniError(CODE.incompatibleVersion, 'incompatible CNI version', details);
  }
  if (isAtLeast(version, SINCE[verb])) return version;
  const details = `${verb} is there since ${SINCE[verb]}, up to ${LATEST_VERSION}`;
  throw new CniError(CODE.incompatibleVersion, `configuration's version ${version} does not allow ${verb}`, details);
}

/** A DEL must not fail because of what an ADD once gave. */
function previousResult(
  value: unknown,
  version: SpecVersion,
  verb: Verb,
): { result: unknown } | { warning: string } | object {
  if (verb === 'GC' || verb === 'STATUS') return {};
  if (value === undefined || value === null) {
    if (verb === 'CHECK') throw wrong('prevResult', 'is missing');
    return {};
  }
  try {
    return { result: readResult(value, version, 'prevResult') };
  } catch (error) {
    if (verb === 'DEL' && error instanceof CniError) return { warning: `${error.message}; deleted without it` };
    throw error;
  }
}

function ipamTypeOf(ipam: unknown, verb: Verb): string {
  if (ipam === undefined || ipam === null) return '';
  if (isObject(ipam)) return textOf(ipam.type, 'ipam.type');
  if (verb === 'DEL') return '';
  throw wrong('ipam', 'must be an object');
}

function textOf(value: unknown, field: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw wrong(field, 'must be a string');
  return value;
}

const wrong = (field: string, problem: string) => new CniError(CODE.badConfiguration, `${field}: ${problem}`);
