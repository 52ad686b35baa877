import { describe, expect, it } from 'vitest';
import { SERVED_MODES } from '../../src/config/proxy-modes.ts';
import { createLogger } from '../../src/log.ts';
import { chooseMode, loadModes } from '../../src/modes.ts';

function newLog() {
  return createLogger({ level: 'info', destination: { write: () => undefined } });
}

describe('modes', () => {
  it('has each that the configuration may name', async () => {
    expect((await loadModes()).map(({ name }) => name)).toEqual([...SERVED_MODES]);
    for (const mode of SERVED_MODES) expect((await chooseMode({ mode }, newLog())).name).toBe(mode);
  });

  it('runs in none that is not served', async () => {
    await expect(chooseMode({ mode: 'ipvs' as never }, newLog())).rejects.toThrow('ipvs is not served');
  });
});
