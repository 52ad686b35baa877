import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { K0, RESULT } from '../../../fakes/plugin-calls.ts';
import { FakePluginHost } from '../../../fakes/plugin-host.ts';

/** The plugin's engine has what the language has, and nothing of Node or the web: so has a fresh context. */
test('the plugin needs nothing but the language', async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: ['src/cni/plugin/run.ts'],
    ...{ bundle: true, write: false, metafile: true, format: 'iife', globalName: 'plugin', platform: 'neutral' },
  });
  expect(Object.keys(metafile.inputs).filter(path => path.startsWith('node:'))).toEqual([]);
  const context = createContext({});
  runInContext(outputFiles[0]!.text, context);
  for (const name of ['TextEncoder', 'URL', 'Buffer', 'process', 'setTimeout'])
    expect(runInContext(`typeof ${name}`, context)).toBe('undefined');
  const run = runInContext('plugin.run', context) as (host: FakePluginHost) => number;

  const environment = {
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '/run/netns/p1',
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/opt/cni/bin',
  };
  const machine = (command: string, agent: FakePluginHost['agent']) =>
    Object.assign(new FakePluginHost(), {
      environment: { ...environment, CNI_COMMAND: command },
      stdin: JSON.stringify(K0),
      agent,
    });
  const adding = machine('ADD', () => ({ result: RESULT }));
  expect([run(adding), JSON.parse(adding.stdout)]).toEqual([0, { cniVersion: '1.1.0', ...RESULT }]);
  const deleting = machine('DEL', () => 'absent');
  expect([run(deleting), deleting.files.size]).toEqual([0, 1]);
});
