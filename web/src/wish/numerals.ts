const DIGITS: Record<string, number> = { 零: 0, 〇: 0, 一: 1, 二: 2, 两: 2, 三: 3, 四: 4, 五: 5, 六: 6, 七: 7, 八: 8, 九: 9 };

/** Reads an Arabic or a Chinese number below 1000 (45, 四十五, 一百二). */
export function readNumber(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  let total = 0;
  let digit: number | undefined;
  for (const char of text) {
    if (char === '百' || char === '十') {
      const unit = char === '百' ? 100 : 10;
      if (digit === undefined && unit === 100) return undefined;
      total += (digit ?? 1) * unit;
      digit = undefined;
    } else {
      const value = DIGITS[char];
      if (value === undefined || (digit !== undefined && digit !== 0)) return undefined;
      digit = value;
    }
  }
  if (text === '') return undefined;
  // 一百二 is 120, 一百零二 is 102.
  const short = text.length >= 3 && text.at(-2) === '百' && digit !== undefined && digit > 0;
  return total + (digit ?? 0) * (short ? 10 : 1);
}
