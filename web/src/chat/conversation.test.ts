import { describe, expect, it } from 'vitest';
import { emptyConversation, reduceConversation, type Conversation, type ConversationAction } from './conversation';

const after = (...actions: ConversationAction[]): Conversation => actions.reduce(reduceConversation, emptyConversation);
const delta = (text: string): ConversationAction => ({ type: 'event', event: { type: 'message.delta', text } });

describe('reduceConversation', () => {
  it('keeps what was said when it is stopped', () => {
    const state = after({ type: 'sent', text: '为什么' }, delta('因为'), { type: 'stopped' });
    expect(state.messages.map(({ role, text }) => [role, text])).toEqual([
      ['user', '为什么'],
      ['assistant', '因为'],
    ]);
    expect(state.pending).toBeUndefined();
  });

  it('does not repeat a question that is sent again after a failure', () => {
    const state = after({ type: 'sent', text: '问' }, { type: 'failed', failure: { kind: 'network' } }, { type: 'sent', text: '问' });
    expect(state.messages).toHaveLength(1);
    expect(state).toMatchObject({ failure: undefined, pending: { question: '问' } });
  });

  it('puts the history before what was said meanwhile', () => {
    const old = { role: 'user', text: '旧', citations: [], section: undefined, changed_section: undefined, created_at: undefined } as const;
    const state = after({ type: 'sent', text: '新' }, { type: 'loaded', messages: [{ ...old, citations: [] }] });
    expect(state.messages.map(({ text }) => text)).toEqual(['旧', '新']);
  });

  it('reads citations as keys of the plan and as whole sources', () => {
    const base = { role: 'assistant', text: '', section: undefined, changed_section: undefined, created_at: undefined } as const;
    const source = { kind: 'concept', ref: 'math:equation', title: '方程', quote: '', locator: undefined } as const;
    const state = after({ type: 'loaded', messages: [{ ...base, citations: ['c2'] }, { ...base, citations: { c9: source } }] });
    expect(state.messages.map(({ cited, citations }) => [cited, citations])).toEqual([
      [['c2'], {}],
      [['c9'], { c9: source }],
    ]);
  });
});
