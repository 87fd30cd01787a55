import { describe, expect, it } from 'vitest';
import type { PlanEvent } from '../api/events';
import { draftLines, reduceWriting, startWriting, type Writing } from './writing';

const request = { topic: '方程', subject: 'math', grade: 7, minutes: 45, language: 'zh-CN' } as const;
const after = (...events: PlanEvent[]): Writing =>
  events.reduce((state, event) => reduceWriting(state, { type: 'event', event, at: 5 }), startWriting(request, 0));
const board = (content: string): PlanEvent => ({ type: 'section.completed', value: { section: 'board', content } });

describe('reduceWriting', () => {
  it('shows the text of the section being written', () => {
    const state = after(
      { type: 'section.started', section: 'board' },
      { type: 'section.delta', section: 'board', text: '一、' },
      { type: 'section.delta', section: 'board', text: '定义' },
    );
    expect(state).toMatchObject({ current: 'board', draft: '一、定义' });
  });

  it('voids the text of an attempt that failed its checks', () => {
    const state = after(
      { type: 'section.started', section: 'board' },
      { type: 'section.delta', section: 'board', text: '错' },
      { type: 'section.started', section: 'board' },
    );
    expect(state).toMatchObject({ current: 'board', draft: '' });
  });

  it('keeps what is complete when the rest fails', () => {
    const problem = { type: '', title: '', status: 500, code: 'internal', detail: '', errors: [], suggestions: [], retry_after: 3 };
    const state = after(board('一'), { type: 'section.started', section: 'homework' }, { type: 'error', problem });
    expect(state).toMatchObject({ phase: 'failed', sections: { board: '一' }, current: undefined, failure: { retryAfter: 3 } });
  });

  it('ignores what arrives after the end', () => {
    const stopped = reduceWriting(after(board('一')), { type: 'stopped', at: 9 });
    expect(reduceWriting(stopped, { type: 'event', event: board('二'), at: 10 })).toBe(stopped);
  });
});

describe('draftLines', () => {
  const check = (draft: string, lines: string[]): void => {
    it(JSON.stringify(draft), () => expect(draftLines(draft)).toEqual(lines));
  };
  check('', []);
  check('一、定义\n\n二、解法', ['一、定义', '二、解法']);
  check('[{"text":"能列方程 $x', ['能列方程 $x']);
  check('[{"text":"一","competency":"模型观念","citations":["c1","c12"]},{"te', ['一', '模型观念']);
  check('{"basic":[{"prompt":"解：$\\\\frac{x}{2}=1$","verified":true,"concept":"math:equation"', ['解：$\\frac{x}{2}=1$']);
  check('[{"teacher":"一\\n二\\u4e09', ['一\n二三']);
  check('[{', []);
});
