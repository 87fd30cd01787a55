import { describe, expect, it } from 'vitest';
import { parseBlocks, parseInline, type Inline } from './parse';

const text = (value: string): Inline => ({ type: 'text', text: value });
const math = (tex: string, display = false): Inline => ({ type: 'math', tex, display });

describe('parseInline', () => {
  const check = (source: string, expected: Inline[]): void => {
    it(source, () => expect(parseInline(source)).toEqual(expected));
  };
  check('解方程 $3x+5=20$。', [text('解方程 '), math('3x+5=20'), text('。')]);
  check('左边 $=$ 右边，$x$、$y$', [text('左边 '), math('='), text(' 右边，'), math('x'), text('、'), math('y')]);
  check('$$a^2+b^2=c^2$$', [math('a^2+b^2=c^2', true)]);
  check('由 \\(x=5\\) 得', [text('由 '), math('x=5'), text(' 得')]);
  check('costs $5 and $6 today', [text('costs $5 and $6 today')]);
  check('$ x = 5 $', [math('x = 5')]);
  check('$5\\$+x$', [math('5\\$+x')]);
  check('$x', [text('$x')]);
  check('**重点**：移项*变号*', [{ type: 'strong', children: [text('重点')] }, text('：移项'), { type: 'em', children: [text('变号')] }]);
  check('**解 $x=2$**', [{ type: 'strong', children: [text('解 '), math('x=2')] }]);
  check('可列方程 ______；$x=$ ______。', [text('可列方程 ______；'), math('x='), text(' ______。')]);
  check('snake_case_name', [text('snake_case_name')]);
  check('2 * 3 * 4', [text('2 * 3 * 4')]);
  check('移项要变号[c2][c13]。', [text('移项要变号'), { type: 'cite', key: 'c2' }, { type: 'cite', key: 'c13' }, text('。')]);
  check('[链接](javascript:alert(1)) <img src=x onerror=alert(1)>', [
    text('[链接](javascript:alert(1)) <img src=x onerror=alert(1)>'),
  ]);
  check('`$x$` \\*a\\*', [{ type: 'code', text: '$x$' }, text(' *a*')]);
});

describe('parseBlocks', () => {
  it('reads headings, paragraphs with line breaks and rules', () => {
    expect(parseBlocks('## 一、定义\n第一行\n第二行\n\n---')).toEqual([
      { type: 'heading', level: 2, children: [text('一、定义')] },
      { type: 'paragraph', children: [text('第一行'), { type: 'break' }, text('第二行')] },
      { type: 'rule' },
    ]);
  });

  it('reads nested and Chinese-numbered lists', () => {
    expect(parseBlocks('1. 去分母\n   - 各项都乘\n2. 移项')).toEqual([
      {
        type: 'list',
        ordered: true,
        start: 1,
        items: [
          [
            { type: 'paragraph', children: [text('去分母')] },
            { type: 'list', ordered: false, start: 1, items: [[{ type: 'paragraph', children: [text('各项都乘')] }]] },
          ],
          [{ type: 'paragraph', children: [text('移项')] }],
        ],
      },
    ]);
    expect(parseBlocks('3、合并')[0]).toMatchObject({ type: 'list', ordered: true, start: 3 });
  });

  it('does not take a decimal for a list', () => {
    expect(parseBlocks('3.5 元')[0]).toMatchObject({ type: 'paragraph' });
  });

  it('reads tables and leaves bars in formulas alone', () => {
    expect(parseBlocks('| 步骤 | 依据 |\n|:--|--:|\n| $|x|=2$ | 定义 |')).toEqual([
      {
        type: 'table',
        align: ['left', 'right'],
        header: [[text('步骤')], [text('依据')]],
        rows: [[[math('|x|=2')], [text('定义')]]],
      },
    ]);
  });

  it('reads display formulas, quotes and code', () => {
    expect(parseBlocks('$$\nx=5\n$$\n> 注意\n```\na\n```')).toEqual([
      { type: 'math', tex: 'x=5' },
      { type: 'quote', children: [{ type: 'paragraph', children: [text('注意')] }] },
      { type: 'code', text: 'a' },
    ]);
  });

  it('ends on any input', () => {
    for (const source of ['```', '$$', '|', '| a |\n|-|', '- ', '-', '>', '1.', '**', '****', '[c', '\\', '* * *', '  - a\n- b\n1. c']) {
      expect(() => parseBlocks(source)).not.toThrow();
    }
  });
});
