import { describe, expect, it } from 'vitest';
import { parseWish } from '../wish/parse';
import { fieldsOf, validate } from './lesson-form';

describe('the lesson form', () => {
  it('takes what the sentence says, and what the teacher set over it', () => {
    const wish = parseWish('七年级一元一次方程，40分钟，多用例子');
    expect(validate(fieldsOf(wish, { minutes: 45 }))).toEqual({
      request: { topic: '一元一次方程', subject: 'math', grade: 7, minutes: 45, language: 'zh-CN', notes: '多用例子' },
    });
  });

  it('asks for what is missing and refuses what the server would', () => {
    expect(validate(fieldsOf(parseWish(''), { minutes: 9 }))).toEqual({
      invalid: { topic: 'topic_required', grade: 'grade_required', minutes: 'minutes_invalid' },
    });
  });

  it('keeps to the limits of the server', () => {
    const result = validate(fieldsOf(parseWish(`七年级${'长'.repeat(300)}`), { notes: '多'.repeat(900) }));
    expect('request' in result && [result.request.topic.length, result.request.notes?.length]).toEqual([100, 500]);
  });
});
