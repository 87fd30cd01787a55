/** One event of a `text/event-stream`: its name (`message` where the server gave none) and its data. */
export interface SseFrame {
  event: string;
  data: string;
  id: string | undefined;
}

/**
 * Decodes server-sent events from the bytes of a response (WHATWG HTML, 9.2.6). It does no I/O: `push` takes the bytes
 * as the network cut them and returns the frames that they complete; `flush` ends the stream.
 *
 * Characters, line ends and events may be split anywhere between two pushes.
 */
export class SseDecoder {
  private readonly utf8 = new TextDecoder('utf-8');
  /** The beginning of a line whose end has not come; it holds no line end, so it is never searched again. */
  private begun = '';
  /** The last push ended in CR; a LF that starts the next one belongs to the same line end. */
  private endedInCr = false;
  private event = '';
  private data: string[] = [];
  private lastId: string | undefined;

  push(bytes: Uint8Array): SseFrame[] {
    return this.take(this.utf8.decode(bytes, { stream: true }));
  }

  /**
   * Ends the stream. As the standard asks, an event without its closing empty line is dropped: half a JSON document is
   * worse than none. Returns true when something was dropped, which means that the connection was cut.
   */
  flush(): { frames: SseFrame[]; truncated: boolean } {
    const frames = this.take(this.utf8.decode());
    const truncated = this.begun !== '' || this.data.length > 0 || this.event !== '';
    this.begun = '';
    this.reset();
    return { frames, truncated };
  }

  private take(text: string): SseFrame[] {
    if (text === '') return [];
    if (this.endedInCr && text.startsWith('\n')) text = text.slice(1);
    this.endedInCr = text === '' ? false : text.endsWith('\r');

    const frames: SseFrame[] = [];
    let start = 0;
    for (let i = 0; i < text.length; i += 1) {
      const char = text[i];
      if (char !== '\n' && char !== '\r') continue;
      const frame = this.line(this.begun + text.slice(start, i));
      this.begun = '';
      if (frame) frames.push(frame);
      if (char === '\r' && text[i + 1] === '\n') i += 1;
      start = i + 1;
    }
    this.begun += text.slice(start);
    return frames;
  }

  private line(line: string): SseFrame | undefined {
    if (line === '') return this.dispatch();
    if (line.startsWith(':')) return undefined;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'event') this.event = value;
    else if (field === 'data') this.data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.lastId = value;
    return undefined;
  }

  private dispatch(): SseFrame | undefined {
    const { event, data, lastId } = this;
    this.reset();
    // An event without data is none: that is how a heartbeat of empty lines stays silent.
    if (data.length === 0) return undefined;
    return { event: event === '' ? 'message' : event, data: data.join('\n'), id: lastId };
  }

  private reset(): void {
    this.event = '';
    this.data = [];
  }
}

/** The stream ended before its final event. */
export class StreamCut extends Error {
  constructor() {
    super('the stream ended before it was done');
    this.name = 'StreamCut';
  }
}

/** The frames of a response body, in order. Cancels the body when the consumer stops early. */
export async function* readFrames(body: ReadableStream<Uint8Array>): AsyncGenerator<SseFrame, void, undefined> {
  const reader = body.getReader();
  const decoder = new SseDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* decoder.push(value);
    }
    const { frames, truncated } = decoder.flush();
    yield* frames;
    if (truncated) throw new StreamCut();
  } finally {
    // Nothing waits for the outcome: after an abort it rejects, and the abort has been reported already.
    reader.cancel().catch(() => undefined);
  }
}
