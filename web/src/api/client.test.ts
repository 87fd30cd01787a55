import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Api, ApiError, retryAfterSeconds, toFailure } from './client';
import { StreamCut } from './sse';

const request = { topic: '方程', subject: 'math', grade: 7, minutes: 45, language: 'zh-CN' } as const;
const answer = (status: number, body: string, headers: Record<string, string> = {}): void => {
  vi.stubGlobal('fetch', vi.fn(() => Promise.resolve(new Response(body, { status, headers }))));
};

beforeEach(() => vi.stubGlobal('document', { documentElement: { lang: 'zh-CN' } }));
afterEach(() => vi.unstubAllGlobals());

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return toFailure(error);
  }
  throw new Error('it should have failed');
}

const drain = async (api: Api): Promise<string[]> => {
  const seen: string[] = [];
  for await (const event of api.createPlan(request, new AbortController().signal)) seen.push(event.type);
  return seen;
};

describe('Api', () => {
  const api = (onUnauthorized = (): void => undefined): Api => new Api(() => 'zs_1', onUnauthorized);

  it('reads a problem and when to try again', async () => {
    answer(429, '{"code":"too_many_plans","title":"T","status":429,"detail":"请稍后"}', { 'retry-after': '17' });
    expect(await failureOf(drain(api()))).toMatchObject({ kind: 'problem', retryAfter: 17, problem: { code: 'too_many_plans' } });
  });

  it('makes a problem of what a proxy says', async () => {
    answer(502, '<html>Bad Gateway</html>');
    expect(await failureOf(api().plan('x'))).toMatchObject({ kind: 'problem', problem: { code: 'http_502', status: 502 } });
  });

  it('reports a session that is over', async () => {
    answer(401, '{"code":"unauthorized"}');
    const over = vi.fn();
    await expect(api(over).plan('x')).rejects.toBeInstanceOf(ApiError);
    expect(over).toHaveBeenCalledOnce();
  });

  it('does not take a refused key for a session that is over', async () => {
    answer(401, '{"code":"unauthorized"}');
    const over = vi.fn();
    await expect(api(over).session('zk_other')).rejects.toBeInstanceOf(ApiError);
    expect(over).not.toHaveBeenCalled();
  });

  it('ends a stream at its error event', async () => {
    answer(200, 'event: section.started\ndata: {"section":"board"}\n\nevent: error\ndata: {"code":"internal"}\n\nevent: done\ndata: {}\n\n');
    expect(await drain(api())).toEqual(['section.started', 'error']);
  });

  it('reports a stream that ends without an end', async () => {
    answer(200, 'event: section.started\ndata: {"section":"board"}\n\n');
    await expect(drain(api())).rejects.toBeInstanceOf(StreamCut);
  });

  it('says 503 of /readyz is an answer', async () => {
    answer(503, '{"ready":false,"models":[{"name":"m","role":"generator","state":"loading","detail":null}]}');
    expect(await api().readiness()).toMatchObject({ ready: false, models: [{ state: 'loading', detail: undefined }] });
  });
});

describe('retryAfterSeconds', () => {
  const now = Date.parse('2026-11-22T03:00:00Z');
  it.each([
    ['17', 17],
    ['0', 0],
    ['1.2', 2],
    ['Sun, 22 Nov 2026 03:00:30 GMT', 30],
    ['Sun, 22 Nov 2026 02:00:00 GMT', 0],
    ['soon', undefined],
    ['', undefined],
    [null, undefined],
  ])('%j', (header, seconds) => expect(retryAfterSeconds(header, now)).toBe(seconds));
});
