import type { Language, LessonRequest, Subject } from '../api/types';
import type { MessageKey } from '../i18n';
import type { Wish } from '../wish/parse';

export interface Fields {
  topic: string;
  subject: Subject;
  grade: number | undefined;
  minutes: number | undefined;
  language: Language;
  notes: string;
}

/** What the teacher set by hand; it wins over what the sentence says. */
export type Edits = Partial<Fields>;

export const fieldsOf = (wish: Wish, edits: Edits, language: Language): Fields => ({
  topic: wish.topic,
  subject: wish.subject ?? 'math',
  grade: wish.grade,
  minutes: wish.minutes ?? 45,
  language: wish.language ?? language,
  notes: wish.notes ?? '',
  ...edits,
});

export const editsOf = (request: LessonRequest): Edits => ({ ...request, notes: request.notes ?? '' });

export const MINUTES = { least: 5, most: 180 };

export type Invalid = Partial<Record<'topic' | 'grade' | 'minutes', MessageKey>>;

export function validate(fields: Fields): { request: LessonRequest } | { invalid: Invalid } {
  const invalid: Invalid = {};
  const { topic, subject, grade, minutes, language, notes } = fields;
  if (topic.trim() === '') invalid.topic = 'topic_required';
  if (grade === undefined) invalid.grade = 'grade_required';
  if (minutes === undefined || minutes < MINUTES.least || minutes > MINUTES.most) invalid.minutes = 'minutes_invalid';
  if (Object.keys(invalid).length > 0 || grade === undefined || minutes === undefined) return { invalid };
  const request: LessonRequest = { topic: topic.trim(), subject, grade, minutes, language };
  if (notes.trim() !== '') request.notes = notes.trim();
  return { request };
}
