import { describe, expect, it } from 'vitest';
import { emptyConversation, reduceConversation } from '../chat/conversation';
import { reduceWriting, sectionsDone, startWriting } from '../plan/writing';
import { DecodeError } from './decode';
import { decodeChatEvent, decodePlanEvent } from './events';
import { SseDecoder, type SseFrame } from './sse';
import { SECTION_NAMES } from './types';

const streams: Record<string, string> = import.meta.glob('../../test/streams/*.sse', { query: '?raw', import: 'default', eager: true });
const files = (prefix: string): [string, string][] =>
  Object.entries(streams)
    .map(([path, text]): [string, string] => [path.split('/').at(-1) ?? path, text])
    .filter(([name]) => name.startsWith(prefix));

function frames(text: string, size: number): SseFrame[] {
  const bytes = new TextEncoder().encode(text);
  const decoder = new SseDecoder();
  const out: SseFrame[] = [];
  for (let i = 0; i < bytes.length; i += size) out.push(...decoder.push(bytes.subarray(i, i + size)));
  expect(decoder.flush()).toEqual({ frames: [], truncated: false });
  return out;
}

describe.each(files('lesson-plan'))('%s', (_name, text) => {
  const request = { topic: '一元一次方程', subject: 'math', grade: 7, minutes: 45, language: 'zh-CN' } as const;

  it.each([1, 7, 4096])('becomes a whole plan, read %d bytes at a time', (size) => {
    const writing = frames(text, size)
      .map(decodePlanEvent)
      .reduce((state, event) => (event ? reduceWriting(state, { type: 'event', event, at: 9000 }) : state), startWriting(request, 0));
    expect(writing.phase).toBe('done');
    expect(sectionsDone(writing)).toBe(SECTION_NAMES.length);
    expect(writing.plan?.sections.procedure.reduce((sum, step) => sum + step.minutes, 0)).toBe(writing.plan?.minutes);
  });

  it('streams the sections that the final plan has', () => {
    const events = frames(text, 1 << 16).flatMap((frame) => decodePlanEvent(frame) ?? []);
    const done = events.find((event) => event.type === 'done');
    const written = Object.fromEntries(
      events.flatMap((event) => (event.type === 'section.completed' ? [[event.value.section, event.value.content]] : [])),
    );
    expect(written).toEqual(done?.plan.sections);
  });
});

describe.each(files('messages'))('%s', (_name, text) => {
  it('becomes an answer', () => {
    const conversation = frames(text, 5)
      .map(decodeChatEvent)
      .reduce(
        (state, event) => (event ? reduceConversation(state, { type: 'event', event }) : state),
        reduceConversation(emptyConversation, { type: 'sent', text: '…' }),
      );
    expect(conversation.pending).toBeUndefined();
    expect(conversation.failure).toBeUndefined();
    expect(conversation.messages.at(-1)?.text).not.toBe('');
  });

  it('cites what the plan that it sends can resolve, and shows the section that this plan has', () => {
    const events = frames(text, 1 << 16).flatMap((frame) => decodeChatEvent(frame) ?? []);
    const done = events.find((event) => event.type === 'done');
    expect(done?.plan).toBeDefined();
    const cited = [...(done?.message.text ?? '').matchAll(/\[(c\d+)\]/g)].map(([, key]) => key);
    expect(Object.keys(done?.plan?.citations ?? {})).toEqual(expect.arrayContaining(cited));
    const changed = events.flatMap((event) => (event.type === 'section.completed' ? [event.value] : [])).at(-1);
    expect(changed?.section).toBe(done?.message.section);
    if (changed) expect(done?.plan?.sections[changed.section]).toEqual(changed.content);
    else expect(cited).not.toEqual([]);
  });
});

describe('decodePlanEvent', () => {
  const frame = (event: string, data: unknown): SseFrame => ({ event, data: JSON.stringify(data), id: undefined });

  it('reads a problem with suggestions', () => {
    const problem = { type: 'urn:x', title: 'Unknown topic', status: 422, code: 'unknown_topic', detail: '…', suggestions: [{ id: 'a', label: '方程', score: 0.4 }] };
    expect(decodePlanEvent(frame('error', problem))).toMatchObject({
      type: 'error',
      problem: { code: 'unknown_topic', suggestions: [{ id: 'a', label: '方程' }], errors: [], retry_after: undefined },
    });
  });

  it('passes over events that it does not know', () => {
    expect(decodePlanEvent(frame('plan.celebrated', { of: 'a newer server' }))).toBeUndefined();
  });

  it.each([
    frame('section.completed', { section: 'objectives', content: 'no list' }),
    frame('section.started', { section: 'intermission' }),
    { event: 'done', data: '{"plan":', id: undefined },
    frame('citation', { key: 'c1' }),
  ])('refuses what it should know but cannot read', (bad) => {
    expect(() => decodePlanEvent(bad)).toThrow(DecodeError);
  });

  it('names the place of what is wrong', () => {
    const content = [{ title: '导入', minutes: 'six' }];
    expect(() => decodePlanEvent(frame('section.completed', { section: 'procedure', content }))).toThrow('procedure[0].minutes: expected a number, got string');
  });
});
