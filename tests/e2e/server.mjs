// The server under test: the release binary as an operator starts it, with a data folder of its own and a free port.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const SIGN_IN_LINK = /(http:\/\/[\d.]+:\d+)\/#\/signin\?token=\S+/;
const STOPPED_WITHIN = 20_000;
const GRAPH = fileURLToPath(new URL('../../knowledge_graph', import.meta.url));

/**
 * @param {{ binary: string, generator: string, units: string[], logFile: string }} options `units` of mathematics make up the
 *   knowledge graph: a first start encodes every concept, which for the whole graph takes longer than writing a plan
 * @returns {Promise<{ url: string, signInLink: string, ready: (within: number) => Promise<void>, stop: () => Promise<void> }>}
 *   `signInLink` is read from what the server prints for its operator; `ready` resolves once the models answer.
 */
export async function startServer({ binary, generator, units, logFile }) {
  const data = await mkdtemp(join(tmpdir(), 'zhujiao-e2e-'));
  const graph = join(data, 'graph');
  for (const file of ['vocabulary.ttl', ...units.map((unit) => `math/${unit}.ttl`)]) await cp(join(GRAPH, file), join(graph, file));
  // Settings of the developer's shell must not reach the test; where the models are is a fact of the machine.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ZHUJIAO_') || name === 'ZHUJIAO_MODELS_DIR');
  const env = {
    ...Object.fromEntries(inherited),
    ZHUJIAO_DATA_DIR: data,
    ZHUJIAO_GRAPH__DIR: graph,
    ZHUJIAO_MODELS__GENERATOR: generator,
  };
  // The working folder has no zhujiao.toml, so the defaults hold.
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0'], { cwd: data, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const log = createWriteStream(logFile);
  let printed = '';
  let ended;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
    log.write(text);
  });
  child.stderr.on('data', (text) => log.write(text));
  const exit = new Promise((resolve) => {
    child.on('error', (error) => {
      ended = `cannot be started: ${error.message}`;
      resolve();
    });
    child.on('exit', (code, signal) => {
      ended ??= `ended by itself (${signal ?? `status ${code}`})`;
      resolve();
    });
  });

  const until = async (what, within, look) => {
    for (const end = Date.now() + within; Date.now() < end; await pause(100)) {
      if (ended) throw new Error(`the server ${binary} ${ended}; its log: ${logFile}`);
      const found = await look();
      if (found) return found;
    }
    throw new Error(`the server: no ${what} within ${within / 1000} s; its log: ${logFile}`);
  };
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOPPED_WITHIN);
    await exit;
    clearTimeout(late);
    log.end();
    await rm(data, { recursive: true, force: true });
  };

  try {
    const [signInLink, url] = await until('sign-in link', 60_000, () => SIGN_IN_LINK.exec(printed));
    const answers = () => fetch(`${url}/readyz`, { signal: AbortSignal.timeout(5000) }).then(({ ok }) => ok, () => false);
    return { url, signInLink, ready: (within) => until('ready models', within, answers), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
