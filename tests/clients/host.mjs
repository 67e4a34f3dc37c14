// Starts the test host on a free port: `cargo build -p scaleout-test-host` first.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url));

export async function startHost(address = 'http://127.0.0.1:0') {
  const program = spawn(`${TARGET}/debug/scaleout-test-host`, [address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const failed = once(program, 'error').then(([error]) => { throw error; });
  const [line] = await Promise.race([once(createInterface(program.stdout), 'line'), failed]);
  const url = line.replace('Now listening on: ', '');
  return {
    url,
    async stop() {
      program.kill('SIGINT');
      await once(program, 'exit');
    },
  };
}
