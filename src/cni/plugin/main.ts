/** The plugin as it is compiled: `native` is native/main.c's, and everything else is run.ts. Nothing runs after the exit. */
import type { Host } from './host.ts';
import { run } from './run.ts';

declare const native: { readonly host: Host; exit(status: number): never };

native.exit(run(native.host));
