import { expect, test } from 'vitest';
import { findExpositionProblems } from './exposition.ts';

const HEAD = '# HELP a_total of a\n# TYPE a_total counter\n';
const HISTOGRAM = '# HELP h of h\n# TYPE h histogram\n';

test('a right text has no problem', () => {
  const samples = 'a_total{b="x \\"y\\" {,}=",c=""} 1.5e-7\na_total{b="z",c=""} +Inf\n'.replace('+Inf', '3');
  const buckets = 'h_bucket{le="0.1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n';
  expect(findExpositionProblems(`${HEAD}${samples}${HISTOGRAM}${buckets}`)).toEqual([]);
});

test.for([
  ['an open last line', `${HEAD}a_total 1`, 'the last line is not ended'],
  ['a stranger', 'b 1\n', 'without a TYPE before it: b 1'],
  ['no number', `${HEAD}a_total one\n`, 'not understood: a_total one'],
  ['a bare label', `${HEAD}a_total{b=1} 1\n`, 'not understood: a_total{b=1} 1'],
  ['a sample twice', `${HEAD}a_total{b="1",c="2"} 1\na_total{c="2",b="1"} 1\n`, 'twice: a_total{c="2",b="1"} 1'],
  ['a metric twice', `${HEAD}${HEAD}`, 'a_total: a second HELP'],
  ['no help', '# TYPE a_total counter\n', 'a_total: no HELP'],
  ['a counter with a gauge name', '# HELP a x\n# TYPE a counter\n', 'a: a counter whose name ends otherwise'],
  ['no last bucket', `${HISTOGRAM}h_bucket{le="1"} 2\nh_sum 1\nh_count 2\n`, 'h {}: bounds 1'],
  [
    'falling buckets',
    `${HISTOGRAM}h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n`,
    'h {}: counts 2, 1 of 1',
  ],
] as const)('%s is a problem', ([, text, problem]) => {
  expect(findExpositionProblems(text)).toContain(problem);
});
