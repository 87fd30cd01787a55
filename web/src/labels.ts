import type { Translate, MessageKey } from './i18n';

const GRADES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as const;
type Grade = (typeof GRADES)[number];

export const ALL_GRADES: readonly number[] = GRADES;

export function gradeLabel(grade: number, t: Translate): string {
  const known = GRADES.find((value): value is Grade => value === grade);
  return known === undefined ? String(grade) : t(`grade_${known}`);
}

const CHINESE = ['一', '二', '三', '四', '五', '六', '七', '八', '九', '十'];

/** 一、二、三 as in a teacher's own plan; 1, 2, 3 in English. */
export const ordinal = (index: number, chinese: boolean): string => (chinese ? CHINESE[index] : undefined) ?? String(index + 1);

/** Names for a rubric's levels, lowest first; with an unusual number of levels they are numbered. */
export function levelLabel(index: number, count: number, t: Translate): string {
  const three: readonly MessageKey[] = ['level3_1', 'level3_2', 'level3_3'];
  const four: readonly MessageKey[] = ['level4_1', 'level4_2', 'level4_3', 'level4_4'];
  const key = (count === 3 ? three : count === 4 ? four : [])[index];
  return key ? t(key) : t('level_n', { n: index + 1 });
}
