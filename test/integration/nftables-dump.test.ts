import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { ObjectText } from '../../src/dump/format.ts';
import type { DumpState } from '../../src/dump/state.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

interface Told {
  readonly failures: readonly string[];
  readonly listed: string;
  readonly texts: readonly ObjectText[];
}

/** What nft lists, by name: the rules of a chain in their order, what is in a set or map sorted. */
function listedLines(text: string): Map<string, { readonly isSet: boolean; readonly lines: readonly string[] }> {
  const blocks = text.matchAll(/^\t(chain|set|map) (\S+) \{\n(.*?)\n?\t\}$/gms);
  return new Map(
    [...blocks].map(([, kind, name = '', body = '']) => {
      const [head = '', elements = ''] = body.split(/\t\telements = \{ /);
      const listed = [...head.split('\n'), ...elements.replace(/ \}\s*$/, '').split(/,\s+/)];
      const lines = listed.map(line => line.trim()).filter(line => line !== '');
      return [name, { isSet: kind !== 'chain', lines: kind === 'chain' ? lines : lines.toSorted() }];
    }),
  );
}

function printedLines(texts: readonly ObjectText[], name: string, isSet: boolean): readonly string[] {
  const found = texts.filter(({ chain }) => chain === name).flatMap(({ lines }) => lines);
  return isSet ? found.toSorted() : found;
}

const script = fileURLToPath(new URL('./nftables-dump-main.ts', import.meta.url));
const lacking = await obstacle();
const stdout =
  lacking === '' ? (await run('unshare', ['--net', process.execPath, script], { timeoutMs: 50_000 })).stdout : '{}';
const told = JSON.parse(stdout) as Record<string, string> & Record<'IPv4' | 'IPv6', Told>;

describeUnless(lacking, 'the dump of mode nftables on this kernel', () => {
  describe.each(['IPv4', 'IPv6'] as const)('%s', family => {
    it('has every rule and element in the words of nft', () => {
      const { failures, listed, texts } = told[family];
      expect(failures).toEqual([]);
      const wanted = listedLines(listed);
      expect(wanted.size).toBeGreaterThan(40);
      expect(new Set(texts.map(({ chain }) => chain))).toEqual(new Set(wanted.keys()));
      for (const [name, { isSet, lines }] of wanted) expect(printedLines(texts, name, isSet), name).toEqual(lines);
    });
  });

  it('shows the Services from the kernel alone', () => {
    const { table = '' } = told;
    expect(table).toMatch(/^no daemon at .*; showing what the kernel has$/m);
    expect(table).toMatch(/^default\/idle +SCTP +10\.96\.0\.12:3868,\*:30868 +<none> +3 there$/m);
    expect(table).toMatch(
      /^default\/web:http +TCP +10\.96\.0\.10:80,\*:30080,192\.0\.2\.1:80 +10\.244\.1\.2:8080,10\.244\.1\.3:8080 +\d+ there$/m,
    );
    expect(table).toMatch(/^default\/local:http +TCP +\[fd00:10:96::13\]:80,\*:30081,\[2001:db8:1::1\]:80 /m);
    expect(table).toMatch(/^\(shared, IPv6\) +- +- +- +\d+ there$/m);
  });

  it('shows a Service whole', () => {
    expect(told.web).toContain('    services     10.96.0.10 . tcp . 80 comment "default/web:http" : goto lb-2\n');
    const { families, mode, source } = JSON.parse((told.json ?? '').replace(/^.*\n/, '')) as DumpState;
    expect([mode, source]).toEqual(['nftables', 'kernel']);
    expect(families.flatMap(({ services }) => services.map(({ port, state }) => [port, state]))).toEqual([
      ['dns-tcp', 'unchecked'],
      ['dns', 'unchecked'],
      ['dns-tcp', 'unchecked'],
      ['dns', 'unchecked'],
    ]);
  });

  it('misses the way to the Services where somebody flushed it', () => {
    expect(told.table).not.toContain('missing');
    expect(told.flushed).toMatch(/^ +missing +nat-output +jump dispatch$/m);
  });
});
