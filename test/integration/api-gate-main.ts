/**
 * A program: the gate in front of a lab's API server, in its namespace. `HOST PORT SERVER TOKEN-FILE`: only the token that the file
 * holds at the time is taken. It has the server certificate of test/fakes/tls and the manifest's role, and prints each refusal.
 */
import { closeSync, readFileSync, writeSync } from 'node:fs';
import { openApiGate } from '../fakes/api-gate.ts';
import { theOnly } from '../unit/deploy/manifest.ts';

const [host = '', port = '', server = '', tokenFile = ''] = process.argv.slice(2);
const pem = (name: string) => readFileSync(new URL(`../fakes/tls/${name}`, import.meta.url), 'utf8');
await openApiGate({
  host,
  port: Number(port),
  server,
  rules: theOnly('ClusterRole').rules ?? [],
  tls: { key: pem('server.key'), cert: pem('server.pem') },
  isTokenValid: token => token === readFileSync(tokenFile, 'utf8').trim(),
  onRefused: what => process.stdout.write(`${what}\n`),
});
writeSync(3, 'ready');
closeSync(3);
