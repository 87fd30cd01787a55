import { describe, expect, it } from 'vitest';
import { readFrames, SseDecoder, StreamCut, type SseFrame } from './sse';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

function decodeInPieces(bytes: Uint8Array, size: number): SseFrame[] {
  const decoder = new SseDecoder();
  const frames: SseFrame[] = [];
  for (let i = 0; i < bytes.length; i += size) frames.push(...decoder.push(bytes.slice(i, i + size)));
  return [...frames, ...decoder.flush().frames];
}

const frame = (event: string, data: string): SseFrame => ({ event, data, id: undefined });

describe('SseDecoder', () => {
  it('reads named and unnamed events', () => {
    expect(decodeInPieces(encode('event: done\ndata: {}\n\ndata: x\n\n'), 1000)).toEqual([
      frame('done', '{}'),
      frame('message', 'x'),
    ]);
  });

  it('gives the same frames however the bytes are cut', () => {
    const bytes = encode('event: a\r\ndata: 解方程 $3x+5=20$\r\n\r\n: heartbeat\r\n\r\nevent: b\ndata: 1\ndata: 二\n\ndata: 🧮\r\r');
    const expected = [frame('a', '解方程 $3x+5=20$'), frame('b', '1\n二'), frame('message', '🧮')];
    for (let size = 1; size <= bytes.length; size += 1) expect(decodeInPieces(bytes, size)).toEqual(expected);
  });

  it('does not take a CRLF split across chunks for two line ends', () => {
    const decoder = new SseDecoder();
    expect(decoder.push(encode('event: a\r'))).toEqual([]);
    expect(decoder.push(encode('\ndata: 1\r'))).toEqual([]);
    expect(decoder.push(encode('\n\r'))).toEqual([frame('a', '1')]);
    expect(decoder.push(encode('\ndata: 2\n\n'))).toEqual([frame('message', '2')]);
  });

  it('delivers an event as soon as its empty line begins', () => {
    expect(new SseDecoder().push(encode('data: 1\n\n'))).toEqual([frame('message', '1')]);
  });

  it('keeps a character that is split across chunks whole', () => {
    const decoder = new SseDecoder();
    const bytes = encode('data: 程\n\n');
    expect(decoder.push(bytes.slice(0, 7))).toEqual([]);
    expect(decoder.push(bytes.slice(7))).toEqual([frame('message', '程')]);
  });

  it('ignores comments, unknown fields and events without data', () => {
    expect(decodeInPieces(encode(': ping\n\nretry: 10\nfoo\n\nevent: x\n\n:\n\ndata\n\n'), 3)).toEqual([frame('message', '')]);
  });

  it('removes one space after the colon and no more', () => {
    expect(decodeInPieces(encode('data:  a\ndata:b: c\n\n'), 4)).toEqual([frame('message', ' a\nb: c')]);
  });

  it('skips a byte order mark', () => {
    expect(decodeInPieces(encode('\ufeffdata: 1\n\n'), 1)).toEqual([frame('message', '1')]);
  });

  it('drops an unfinished event at the end and says so', () => {
    const decoder = new SseDecoder();
    expect(decoder.push(encode('event: done\ndata: {"plan"'))).toEqual([]);
    expect(decoder.flush()).toEqual({ frames: [], truncated: true });
    expect(decoder.flush()).toEqual({ frames: [], truncated: false });
  });
});

describe('readFrames', () => {
  const body = (...chunks: string[]): ReadableStream<Uint8Array> =>
    new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(encode(chunk));
        controller.close();
      },
    });

  it('reports a connection that was cut within an event', async () => {
    const seen: SseFrame[] = [];
    const read = async (): Promise<void> => {
      for await (const next of readFrames(body('data: 1\n\nda', 'ta: 2\n'))) seen.push(next);
    };
    await expect(read()).rejects.toBeInstanceOf(StreamCut);
    expect(seen).toEqual([frame('message', '1')]);
  });

  it('cancels the body when the consumer stops', async () => {
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(encode('data: 1\n\n'));
      },
      cancel() {
        cancelled = true;
      },
    });
    for await (const next of readFrames(endless)) {
      expect(next.data).toBe('1');
      break;
    }
    expect(cancelled).toBe(true);
  });
});
