/** Starts the lab's control process: API server and EndpointSlice controller in the `control` namespace (control-main.ts). */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { labProgram } from './install.ts';
import { apiAddress, apiPort, namespaceOf, serviceCIDR, serviceCIDR6 } from './layout.ts';
import { kubeconfig } from './manifests.ts';
import { launch, markedEnv, signalProcess } from './process.ts';
import { labDir, type StateFile } from './state.ts';

/** Resolves when the API server answers. Without validation it stores impossible objects too. @throws when it doesn't come up */
export async function startControl(state: StateFile, { validate }: { readonly validate: boolean }): Promise<void> {
  const lab = state.current.name;
  const directory = labDir(lab);
  const logFile = join(directory, 'control.log');
  writeFileSync(join(directory, 'kubeconfig'), kubeconfig());
  const launched = await launch({
    netns: namespaceOf(lab, 'control'),
    command: [
      ...labProgram('control'),
      apiAddress,
      String(apiPort),
      join(directory, 'api.sock'),
      validate ? 'full' : 'none',
      (state.current.hasIPv6 ? [serviceCIDR, serviceCIDR6] : [serviceCIDR]).join(','),
    ],
    env: markedEnv(lab),
    logFile,
    announces: true,
  });
  state.update({ control: launched.id });
  if ((await launched.announcement) !== 'ready') throw new Error(`API server ${await launched.ended}; see ${logFile}`);
}

/** The API server forgets its history and breaks all watches. @throws when it doesn't run */
export async function dropWatches(state: StateFile): Promise<void> {
  const { control } = state.current;
  if (control === null || !(await signalProcess(control, 'SIGUSR2'))) throw new Error('the API server has gone');
}
