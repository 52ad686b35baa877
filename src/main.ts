process.stdout.write('kproxy-ts\n');
