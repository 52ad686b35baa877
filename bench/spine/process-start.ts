/** process-start.ts SERVICES VARIANT: from the daemon's process start to all rules programmed, the API server's lists included. */
import { startDaemon } from './daemon.ts';

const [services = '0', variant = 'nft'] = process.argv.slice(2);
await using daemon = await startDaemon({ services, variant });
process.stdout.write(JSON.stringify({ ms: daemon.startMs }));
