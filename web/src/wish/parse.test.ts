import { describe, expect, it } from 'vitest';
import { readNumber } from './numerals';
import { parseWish, type Wish } from './parse';

const check = (sentence: string, expected: Wish): void => {
  it(sentence, () => expect(parseWish(sentence)).toEqual(expected));
};

describe('parseWish in Chinese', () => {
  check('帮我备一节七年级一元一次方程的课, 45 分钟', { topic: '一元一次方程', subject: 'math', grade: 7, minutes: 45 });
  check('帮我备一节七年级一元一次方程的课，45分钟', { topic: '一元一次方程', subject: 'math', grade: 7, minutes: 45 });
  check('请帮我准备一堂初二数学课：勾股定理，四十分钟', { topic: '勾股定理', subject: 'math', grade: 8, minutes: 40 });
  check('九年级 一元二次方程 40分钟', { topic: '一元二次方程', subject: 'math', grade: 9, minutes: 40 });
  check('七年级数学一元一次方程', { topic: '一元一次方程', subject: 'math', grade: 7 });
  check('一元一次方程', { topic: '一元一次方程', subject: 'math' });
  check('备课：一次函数的图象', { topic: '一次函数的图象', subject: 'math' });
  check('我想上一节关于等式的性质的课', { topic: '等式的性质' });
  check('设计一份8年级下册勾股定理的教案', { topic: '勾股定理', subject: 'math', grade: 8 });
  check('九年级化学 化学方程式，半小时', { topic: '化学方程式', subject: 'chemistry', grade: 9, minutes: 30 });
  check('高一物理牛顿第二定律', { topic: '牛顿第二定律', subject: 'physics', grade: 10 });
  check('帮我备一节七年级一元一次方程的课，45分钟，多用生活中的例子，学生基础较弱', {
    topic: '一元一次方程',
    subject: 'math',
    grade: 7,
    minutes: 45,
    notes: '多用生活中的例子，学生基础较弱',
  });
  check('用英文写一份七年级有理数的教案', { topic: '有理数', subject: 'math', grade: 7, language: 'en' });
  check('小学五年级 小数乘法 一节课', { topic: '小数乘法', grade: 5 });
  check('七年级英语课 现在进行时', { topic: '现在进行时', subject: 'english', grade: 7 });
  check('九年级语文出师表', { topic: '出师表', subject: 'chinese', grade: 9 });
  check('八年级物理 做功', { topic: '做功', subject: 'physics', grade: 8 });
  check('“合并同类项”的课，初一，40分钟', { topic: '合并同类项', grade: 7, minutes: 40 });
});

describe('parseWish in English', () => {
  check('Plan a 45-minute grade 7 lesson on linear equations', { topic: 'linear equations', subject: 'math', grade: 7, minutes: 45 });
  check('Pythagorean theorem for 8th graders, 40 min', { topic: 'Pythagorean theorem', subject: 'math', grade: 8, minutes: 40 });
  check('Help me prepare a maths class about quadratic equations, G9', { topic: 'quadratic equations', subject: 'math', grade: 9 });
});

describe('parseWish with little to read', () => {
  check('', { topic: '' });
  check('   ', { topic: '' });
  check('帮我备一节课', { topic: '' });
  check('45分钟', { topic: '', minutes: 45 });
  check('七年级', { topic: '', grade: 7 });

  it('leaves impossible numbers in the text instead of guessing', () => {
    expect(parseWish('0分钟的方程课').minutes).toBeUndefined();
    expect(parseWish('grade 13 equations').grade).toBeUndefined();
  });

  it('is quick on a long text', () => {
    const wish = parseWish(`一元一次方程，${'很长的要求，'.repeat(20_000)}`);
    expect(wish.topic).toBe('一元一次方程');
  });
});

describe('readNumber', () => {
  it.each([
    ['45', 45],
    ['十', 10],
    ['十五', 15],
    ['四十', 40],
    ['四十五', 45],
    ['一百二十', 120],
    ['一百二', 120],
    ['一百零五', 105],
    ['九', 9],
  ])('%s is %d', (text, value) => expect(readNumber(text)).toBe(value));

  it.each(['', '百', '一二', 'abc'])('%j is no number', (text) => expect(readNumber(text)).toBeUndefined());
});
