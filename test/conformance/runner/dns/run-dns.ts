/** The suites of kproxy-vectors/dns/v1 against the real DNS server. */
import type { Result } from '../result.ts';
import { listAt, type VectorFile } from '../vector-files.ts';
import { runSuite } from './run-suite.ts';
import type { DnsSuite } from './suite.ts';

const DNS_SCHEMA = 'kproxy-vectors/dns/v1';

/** By its schema, or by its shape where it names none. */
function isOfDns({ schema, fields }: VectorFile): boolean {
  return schema === DNS_SCHEMA || (schema === '' && Array.isArray(fields.suites) && Array.isArray(fields.serviceCIDRs));
}

/** Of files of other schemas nothing. */
export async function runDns(files: readonly VectorFile[]): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (const file of files.filter(isOfDns)) {
    const serviceCIDRs = listAt<string>(file, 'serviceCIDRs');
    for (const suite of listAt<DnsSuite>(file, 'suites')) {
      const found = await runSuite(suite, { serviceCIDRs });
      results.push(...found.map(result => ({ ...result, name: `${file.file}, ${result.name}` })));
    }
  }
  return results;
}
