import type { LessonRequest, Subject } from '../api/types';
import type { MessageKey } from '../i18n';
import type { Wish } from '../wish/parse';

export interface Fields {
  topic: string;
  subject: Subject;
  grade: number | undefined;
  minutes: number | undefined;
  notes: string;
}

/** What the teacher set by hand; it wins over what the sentence says. */
export type Edits = Partial<Fields>;

export const fieldsOf = (wish: Wish, edits: Edits): Fields => ({
  topic: wish.topic,
  subject: wish.subject ?? 'math',
  grade: wish.grade,
  minutes: wish.minutes ?? 45,
  notes: wish.notes ?? '',
  ...edits,
});

export const editsOf = ({ topic, subject, grade, minutes, notes }: LessonRequest): Edits => ({ topic, subject, grade, minutes, notes: notes ?? '' });

/** The server's limits, so that a form that passes here passes there. */
export const MINUTES = { least: 10, most: 180 };
export const TOPIC_LIMIT = 100;
export const NOTES_LIMIT = 500;

export type Invalid = Partial<Record<'topic' | 'grade' | 'minutes', MessageKey>>;

export function validate(fields: Fields): { request: LessonRequest } | { invalid: Invalid } {
  const invalid: Invalid = {};
  const { subject, grade, minutes } = fields;
  const topic = fields.topic.trim().slice(0, TOPIC_LIMIT);
  const notes = fields.notes.trim().slice(0, NOTES_LIMIT);
  if (topic === '') invalid.topic = 'topic_required';
  if (grade === undefined) invalid.grade = 'grade_required';
  if (minutes === undefined || minutes < MINUTES.least || minutes > MINUTES.most) invalid.minutes = 'minutes_invalid';
  if (Object.keys(invalid).length > 0 || grade === undefined || minutes === undefined) return { invalid };
  // The graph's content is Chinese, and the server refuses other languages for now.
  const request: LessonRequest = { topic, subject, grade, minutes, language: 'zh-CN' };
  if (notes !== '') request.notes = notes;
  return { request };
}
