/**
 * A small Markdown dialect: what lesson texts use, and nothing that could carry markup of its own. The result is data;
 * `render.tsx` makes elements of it, so no text from the server is ever read as HTML. Links and images stay text.
 */
export type Inline =
  | { type: 'text'; text: string }
  | { type: 'math'; tex: string; display: boolean }
  | { type: 'strong' | 'em'; children: Inline[] }
  | { type: 'code'; text: string }
  | { type: 'break' }
  /** `[c1]` */
  | { type: 'cite'; key: string };

export type Align = 'left' | 'center' | 'right' | undefined;

export type Block =
  | { type: 'paragraph'; children: Inline[] }
  | { type: 'heading'; level: number; children: Inline[] }
  | { type: 'list'; ordered: boolean; start: number; items: Block[][] }
  | { type: 'table'; align: Align[]; header: Inline[][]; rows: Inline[][][] }
  | { type: 'quote'; children: Block[] }
  | { type: 'code'; text: string }
  | { type: 'math'; tex: string }
  | { type: 'rule' };

const CITE = /^\[(c\d{1,4})\]/;
const ESCAPABLE = /[\\`*_{}[\]()#+\-.!$|>~]/;

export function parseInline(source: string): Inline[] {
  const out: Inline[] = [];
  let plain = '';
  const put = (node: Inline): void => {
    if (plain !== '') out.push({ type: 'text', text: plain });
    plain = '';
    out.push(node);
  };

  let i = 0;
  while (i < source.length) {
    const char = source.charAt(i);
    const rest = source.slice(i, i + 2);

    if (rest === '\\(' || rest === '\\[') {
      const close = source.indexOf(rest === '\\(' ? '\\)' : '\\]', i + 2);
      if (close > 0) {
        put({ type: 'math', tex: source.slice(i + 2, close).trim(), display: rest === '\\[' });
        i = close + 2;
        continue;
      }
    }
    if (char === '\\' && ESCAPABLE.test(source.charAt(i + 1))) {
      plain += source.charAt(i + 1);
      i += 2;
      continue;
    }
    if (char === '$') {
      const math = readMath(source, i);
      if (math) {
        put({ type: 'math', tex: math.tex, display: math.display });
        i = math.end;
        continue;
      }
    }
    if (char === '`') {
      const close = source.indexOf('`', i + 1);
      if (close > i + 1) {
        put({ type: 'code', text: source.slice(i + 1, close) });
        i = close + 1;
        continue;
      }
    }
    if (char === '*' || char === '_') {
      const span = readEmphasis(source, i);
      if (span) {
        put({ type: span.type, children: parseInline(span.inner) });
        i = span.end;
        continue;
      }
    }
    if (char === '[') {
      const cite = CITE.exec(source.slice(i, i + 8));
      if (cite?.[1]) {
        put({ type: 'cite', key: cite[1] });
        i += cite[0].length;
        continue;
      }
    }
    if (char === '\n') {
      put({ type: 'break' });
      i += 1;
      continue;
    }
    plain += char;
    i += 1;
  }
  if (plain !== '') out.push({ type: 'text', text: plain });
  return out;
}

function readMath(source: string, at: number): { tex: string; display: boolean; end: number } | undefined {
  const display = source.startsWith('$$', at);
  const open = display ? 2 : 1;
  let close = at + open;
  for (;;) {
    close = source.indexOf('$', close);
    if (close < 0) return undefined;
    if (source.charAt(close - 1) === '\\') {
      close += 1;
      continue;
    }
    break;
  }
  if (display && !source.startsWith('$$', close)) return undefined;
  const tex = source.slice(at + open, close);
  if (tex.trim() === '') return undefined;
  if (!display) {
    // Pandoc's rule keeps "$5 and $6" text; a formula set off with spaces must look like one.
    const tight = !/^\s|\s$/.test(tex) && !/\d/.test(source.charAt(close + 1));
    const formulaLike = /[\\^_=+{<>]/.test(tex) && !tex.includes('\n');
    if (!tight && !formulaLike) return undefined;
  }
  return { tex: tex.trim(), display, end: close + open };
}

function readEmphasis(source: string, at: number): { type: 'strong' | 'em'; inner: string; end: number } | undefined {
  const char = source.charAt(at);
  const double = source.charAt(at + 1) === char;
  const marker = double ? char + char : char;
  // An underscore inside a word, and a blank to fill in (____), are text.
  if (char === '_' && (/\w/.test(source.charAt(at - 1)) || source.charAt(at + marker.length) === '_')) return undefined;
  const from = at + marker.length;
  if (/\s|^$/.test(source.charAt(from))) return undefined;
  let close = source.indexOf(marker, from + 1);
  while (close > 0 && (/\s/.test(source.charAt(close - 1)) || (!double && source.charAt(close + 1) === char))) {
    close = source.indexOf(marker, close + 2);
  }
  if (close < 0) return undefined;
  if (char === '_' && /\w/.test(source.charAt(close + marker.length))) return undefined;
  return { type: double ? 'strong' : 'em', inner: source.slice(from, close), end: close + marker.length };
}

const BULLET = /^(\s*)(?:[-*+•]|(\d{1,3})[.)、．])\s+(.*)$/;
/** 1．and 1、 are often followed by the text at once. */
const NUMBERED_TIGHT = /^(\s*)(\d{1,3})[、．](\S.*)$/;

export function parseBlocks(source: string): Block[] {
  return blocks(source.replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n'));
}

function blocks(lines: string[]): Block[] {
  const out: Block[] = [];
  let paragraph: string[] = [];
  const endParagraph = (): void => {
    if (paragraph.length > 0) out.push({ type: 'paragraph', children: parseInline(paragraph.join('\n')) });
    paragraph = [];
  };

  let i = 0;
  while (i < lines.length) {
    const line = lines[i] ?? '';
    const trimmed = line.trim();

    if (trimmed === '') {
      endParagraph();
      i += 1;
      continue;
    }
    if (trimmed.startsWith('```')) {
      endParagraph();
      const end = lines.findIndex((next, n) => n > i && next.trim().startsWith('```'));
      const last = end < 0 ? lines.length : end;
      out.push({ type: 'code', text: lines.slice(i + 1, last).join('\n') });
      i = last + 1;
      continue;
    }
    if (trimmed === '$$' || trimmed === '\\[') {
      const closing = trimmed === '$$' ? '$$' : '\\]';
      const end = lines.findIndex((next, n) => n > i && next.trim() === closing);
      if (end > 0) {
        endParagraph();
        out.push({ type: 'math', tex: lines.slice(i + 1, end).join('\n') });
        i = end + 1;
        continue;
      }
    }
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(trimmed);
    if (heading) {
      endParagraph();
      out.push({ type: 'heading', level: (heading[1] ?? '#').length, children: parseInline(heading[2] ?? '') });
      i += 1;
      continue;
    }
    if (/^(?:-\s*){3,}$|^(?:\*\s*){3,}$|^(?:_\s*){3,}$/.test(trimmed)) {
      endParagraph();
      out.push({ type: 'rule' });
      i += 1;
      continue;
    }
    if (trimmed.startsWith('>')) {
      endParagraph();
      const quoted: string[] = [];
      while (i < lines.length && (lines[i] ?? '').trim().startsWith('>')) {
        quoted.push((lines[i] ?? '').trim().replace(/^>\s?/, ''));
        i += 1;
      }
      out.push({ type: 'quote', children: blocks(quoted) });
      continue;
    }
    const divider = lines[i + 1]?.trim() ?? '';
    if (trimmed.includes('|') && /^\|?\s*:?-{1,}:?\s*(?:\|\s*:?-{1,}:?\s*)*\|?$/.test(divider) && divider.includes('-')) {
      endParagraph();
      const align = cells(divider).map((cell): Align => {
        const left = cell.startsWith(':');
        const right = cell.endsWith(':');
        return left && right ? 'center' : right ? 'right' : left ? 'left' : undefined;
      });
      const header = cells(trimmed).map(parseInline);
      const rows: Inline[][][] = [];
      i += 2;
      while (i < lines.length && (lines[i] ?? '').includes('|')) {
        rows.push(cells((lines[i] ?? '').trim()).map(parseInline));
        i += 1;
      }
      out.push({ type: 'table', align, header, rows });
      continue;
    }
    const bullet = bulletOf(line);
    if (bullet) {
      endParagraph();
      const [list, next] = readList(lines, i, bullet);
      out.push(list);
      i = next;
      continue;
    }
    paragraph.push(trimmed);
    i += 1;
  }
  endParagraph();
  return out;
}

interface Bullet {
  indent: number;
  number: number | undefined;
  text: string;
}

function bulletOf(line: string): Bullet | undefined {
  const match = BULLET.exec(line) ?? NUMBERED_TIGHT.exec(line);
  if (!match) return undefined;
  return {
    indent: (match[1] ?? '').length,
    number: match[2] === undefined ? undefined : Number(match[2]),
    text: match[3] ?? '',
  };
}

function readList(lines: string[], from: number, first: Bullet): [Block, number] {
  const ordered = first.number !== undefined;
  const items: string[][] = [];
  let i = from;
  while (i < lines.length) {
    const line = lines[i] ?? '';
    const bullet = bulletOf(line);
    if (bullet && bullet.indent <= first.indent + 1) {
      if (bullet.indent < first.indent || (bullet.number !== undefined) !== ordered) break;
      items.push([bullet.text]);
      i += 1;
      continue;
    }
    const indent = line.length - line.trimStart().length;
    if (line.trim() === '') {
      const following = lines[i + 1] ?? '';
      const continues = following.trim() !== '' && (bulletOf(following) || /^\s{2,}/.test(following));
      if (!continues) break;
      i += 1;
      continue;
    }
    if (indent <= first.indent) break;
    items.at(-1)?.push(line.slice(Math.min(indent, first.indent + 2)));
    i += 1;
  }
  return [{ type: 'list', ordered, start: first.number ?? 1, items: items.map(blocks) }, i];
}

/** Splits a table row at its bars, but not at those inside a formula or after a backslash. */
function cells(row: string): string[] {
  const inner = row.replace(/^\|/, '').replace(/\|$/, '');
  const out: string[] = [];
  let cell = '';
  let inMath = false;
  for (let i = 0; i < inner.length; i += 1) {
    const char = inner.charAt(i);
    if (char === '\\' && inner.charAt(i + 1) === '|' && !inMath) {
      cell += '|';
      i += 1;
      continue;
    }
    if (char === '$') inMath = !inMath && inner.indexOf('$', i + 1) > 0;
    if (char === '|' && !inMath) {
      out.push(cell.trim());
      cell = '';
    } else {
      cell += char;
    }
  }
  out.push(cell.trim());
  return out;
}
