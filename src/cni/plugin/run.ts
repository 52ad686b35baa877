/** The program: reads what the runtime says, has it done, prints what the specification wants to be printed. */
import { readConfiguration, versionSaid } from '../spec/configuration.ts';
import { type Environment, readCommand, readEnvironment, type Verb } from '../spec/environment.ts';
import { asCniError, errorText } from '../spec/errors.ts';
import { resultText } from '../spec/print-result.ts';
import { LATEST_VERSION, SUPPORTED_VERSIONS } from '../spec/versions.ts';
import { CniError, CODE } from '../types.ts';
import { attachment } from './attachment.ts';
import { isFailed, warn } from './call.ts';
import { asCalled } from './called.ts';
import type { Host } from './host.ts';
import { isLoopback, loopback } from './loopback.ts';

const MAX_STDIN_BYTES = 16 * 1024 * 1024;
const STDIN_TIMEOUT_MS = 8000;
/** Where the input has nothing to say but its version. */
const BRIEF_STDIN_TIMEOUT_MS = 1000;

const ABOUT = `kproxy-cni, the CNI plugin of kproxy-ts: a container runtime calls it.
CNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}
`;

interface Answer {
  readonly stdout: string;
  readonly status: number;
}

/** The exit status. */
export function run(host: Host): number {
  const { stdout, status } = answer(host);
  return stdout === '' || host.writeStdout(stdout) ? status : 1;
}

function answer(host: Host): Answer {
  let verb: Verb;
  let environment: Environment;
  try {
    const command = readCommand(host.environment);
    if (command === undefined) return about(host);
    if (command === 'VERSION') return versions(host);
    verb = command;
    environment = readEnvironment(host.environment, verb);
  } catch (error) {
    return failed(error, versionOfStdin(host));
  }
  return serve(host, verb, environment);
}

function about(host: Host): Answer {
  host.writeStderr(ABOUT);
  return { stdout: '', status: 0 };
}

function versions(host: Host): Answer {
  const document = { cniVersion: versionOfStdin(host), supportedVersions: SUPPORTED_VERSIONS };
  return { stdout: `${JSON.stringify(document)}\n`, status: 0 };
}

function versionOfStdin(host: Host): string {
  const text = host.readStdin({ maxBytes: MAX_STDIN_BYTES, timeoutMs: BRIEF_STDIN_TIMEOUT_MS });
  return (isFailed(text) ? undefined : versionSaid(text)) ?? LATEST_VERSION;
}

function serve(host: Host, verb: Verb, environment: Environment): Answer {
  const text = host.readStdin({ maxBytes: MAX_STDIN_BYTES, timeoutMs: STDIN_TIMEOUT_MS });
  if (isFailed(text)) {
    const { code, problem } = STDIN_PROBLEMS[text.failure];
    return failed(new CniError(code, problem, text.message), LATEST_VERSION);
  }
  try {
    const said = readConfiguration(text, verb);
    const isOfLoopback = isLoopback(host, said);
    const configuration = isOfLoopback ? said : asCalled(said, { program: host.program, verb });
    for (const warning of configuration.warnings) warn(host, warning);
    const call = { host, verb, environment, configuration, stdin: text };
    const result = isOfLoopback ? loopback(call) : attachment(call);
    return { stdout: result === undefined ? '' : resultText(result, configuration.version), status: 0 };
  } catch (error) {
    return failed(error, versionSaid(text) ?? LATEST_VERSION);
  }
}

const STDIN_PROBLEMS = {
  'too-large': { code: CODE.badConfiguration, problem: `the configuration has more than ${MAX_STDIN_BYTES} bytes` },
  timeout: { code: CODE.io, problem: 'the standard input was not closed in time' },
  io: { code: CODE.io, problem: 'the standard input could not be read' },
  ended: { code: CODE.tryAgain, problem: 'a signal ended kproxy-cni before it had read its configuration' },
} as const;

function failed(error: unknown, version: string): Answer {
  return { stdout: errorText(asCniError(error), version), status: 1 };
}
