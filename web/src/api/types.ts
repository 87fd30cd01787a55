import { array, boolean, number, object, oneOf, optional, record, string, withDefault, type Decoder, type Infer } from './decode';

/** The shapes of the wire contract (v1) that the page uses; each type is inferred from the decoder that checks it. */

export const SUBJECTS = ['math', 'chinese', 'english', 'physics', 'chemistry', 'biology', 'ai'] as const;
export type Subject = (typeof SUBJECTS)[number];

export const LANGUAGES = ['zh-CN', 'en'] as const;
export type Language = (typeof LANGUAGES)[number];

/** In the order in which they are written and shown. */
export const SECTION_NAMES = [
  'objectives',
  'standards',
  'prerequisites',
  'key_points',
  'difficulties',
  'misconceptions',
  'procedure',
  'board',
  'homework',
  'assessment',
] as const;
export type SectionName = (typeof SECTION_NAMES)[number];
export const sectionName: Decoder<SectionName> = oneOf(SECTION_NAMES);

const subject = oneOf(SUBJECTS);
const keys = withDefault(array(string), []);
const namedRef = object({ id: string, label: string });
export type NamedRef = Infer<typeof namedRef>;

export const citation = object({
  // A kind that a newer server adds is shown as a document: title and quote are all that a reader needs.
  kind: oneOf(['concept', 'standard', 'document', 'exercise'], 'document'),
  ref: string,
  title: string,
  quote: withDefault(string, ''),
  locator: optional(string),
});
export type Citation = Infer<typeof citation>;
export type Citations = Record<string, Citation>;

const exerciseItem = object({
  prompt: string,
  answer: withDefault(string, ''),
  verified: withDefault(boolean, false),
  concept: withDefault(string, ''),
  citations: keys,
});
export type ExerciseItem = Infer<typeof exerciseItem>;

export const HOMEWORK_LEVELS = ['basic', 'standard', 'challenge'] as const;
export type HomeworkLevel = (typeof HOMEWORK_LEVELS)[number];

const exercises = withDefault(array(exerciseItem), []);

/** `model`, or `vetted` for wording that stands in for the model's; nothing when a person wrote the text. */
const wordedBy = optional(string);

/** One decoder for each section's `content`. */
export const sectionDecoders = {
  objectives: array(object({ text: string, competency: withDefault(string, ''), citations: keys, source: wordedBy })),
  standards: array(object({ code: withDefault(string, ''), text: string, citations: keys })),
  prerequisites: array(object({ concept: string, label: string, check_question: withDefault(string, ''), citations: keys })),
  key_points: array(object({ text: string, citations: keys })),
  difficulties: array(object({ text: string, remedy: withDefault(string, ''), citations: keys })),
  misconceptions: array(object({ text: string, response: withDefault(string, ''), citations: keys })),
  procedure: array(
    object({
      title: string,
      minutes: number,
      teacher: withDefault(string, ''),
      students: withDefault(string, ''),
      purpose: withDefault(string, ''),
      citations: keys,
      source: wordedBy,
    }),
  ),
  board: string,
  homework: object({ basic: exercises, standard: exercises, challenge: exercises }),
  assessment: array(object({ criterion: string, levels: array(string), citations: keys, source: wordedBy })),
} satisfies { [K in SectionName]: Decoder<unknown> };

export type LessonSections = { [K in SectionName]: Infer<(typeof sectionDecoders)[K]> };
export type SectionContent = { [K in SectionName]: { section: K; content: LessonSections[K] } }[SectionName];

export function decodeSection(section: SectionName, content: unknown): SectionContent {
  // The map above pairs each name with its own decoder; the compiler cannot follow that through a variable.
  return { section, content: sectionDecoders[section](content, section) } as SectionContent;
}

const sections: Decoder<LessonSections> = object(sectionDecoders);

const planHead = {
  id: string,
  topic: string,
  subject,
  grade: number,
  created_at: string,
};

export const lessonPlan = object({
  ...planHead,
  minutes: number,
  language: oneOf(LANGUAGES, 'zh-CN'),
  notes: optional(string),
  concepts: withDefault(array(namedRef), []),
  sections,
  citations: withDefault(record(citation), {}),
  coverage: object({ cited_fraction: number, standards: keys }),
  generated_by: object({ model: string, prompt_version: withDefault(string, ''), label: withDefault(string, '') }),
  updated_at: string,
});
export type LessonPlan = Infer<typeof lessonPlan>;

/** What the list shows of a plan; a list that carries whole plans reads just as well. */
export const planSummary = object({ ...planHead, minutes: number, updated_at: optional(string) });
export type PlanSummary = Infer<typeof planSummary>;

export const page = <T>(item: Decoder<T>): Decoder<{ items: T[]; next_cursor: string | undefined }> =>
  object({ items: array(item), next_cursor: optional(string) });

export interface LessonRequest {
  topic: string;
  subject: Subject;
  grade: number;
  minutes: number;
  language: Language;
  notes?: string;
}

export const conceptSummary = object({
  id: string,
  label: string,
  label_en: withDefault(string, ''),
  subject,
  grade: number,
  unit: optional(namedRef),
  definition: withDefault(string, ''),
});
export type ConceptSummary = Infer<typeof conceptSummary>;

export const concept = object({
  id: string,
  label: string,
  label_en: withDefault(string, ''),
  subject,
  grade: number,
  unit: optional(namedRef),
  definition: withDefault(string, ''),
  key_points: keys,
  examples: withDefault(
    array(object({ prompt: string, solution: keys, answer: withDefault(string, '') })),
    [],
  ),
  prerequisites: withDefault(array(object({ id: string, label: string, reason: withDefault(string, '') })), []),
  related: withDefault(array(namedRef), []),
  misconceptions: withDefault(array(object({ text: string, response: withDefault(string, '') })), []),
  standards: withDefault(array(object({ code: withDefault(string, ''), text: string })), []),
});
export type Concept = Infer<typeof concept>;

export const ROLES = ['administrator', 'teacher', 'student', 'counsellor', 'guardian', 'integrator'] as const;
const role = oneOf(ROLES);
export type Role = Infer<typeof role>;

/** `POST /v1/sessions` */
export const openedSession = object({
  token: string,
  expires_at: optional(string),
  role,
  school: optional(string),
});

/** `GET /v1/session` */
export const session = object({ role, school: optional(string), expires_at: optional(string) });
export type Session = Infer<typeof session>;

/** `GET /readyz`, with status 200 or 503. */
export const readiness = object({
  ready: boolean,
  models: withDefault(
    array(
      object({
        name: string,
        role: withDefault(string, ''),
        state: withDefault(string, ''),
        detail: optional(string),
      }),
    ),
    [],
  ),
});
export type Readiness = Infer<typeof readiness>;

/** Citations of a chat message: whole, or as keys of the plan's. */
export const chatCitations: Decoder<Citations | string[]> = (value, path) => {
  if (value === undefined || value === null) return {};
  return Array.isArray(value) ? array(string)(value, path) : record(citation)(value, path);
};

export const chatMessage = object({
  role: oneOf(['user', 'assistant']),
  text: string,
  citations: chatCitations,
  /** The section that the message changed. Stored messages say `section`, the stream says `changed_section`. */
  section: optional(sectionName),
  changed_section: optional(sectionName),
  created_at: optional(string),
});
export type ChatMessage = Infer<typeof chatMessage>;

const fieldErrors = array(object({ field: withDefault(string, ''), detail: withDefault(string, '') }));

/** RFC 9457, with this API's extensions. */
export const problem = object({
  type: withDefault(string, 'about:blank'),
  title: withDefault(string, ''),
  status: withDefault(number, 0),
  code: withDefault(string, 'unknown'),
  detail: withDefault(string, ''),
  errors: withDefault(fieldErrors, []),
  suggestions: withDefault(array(namedRef), []),
  /** Seconds, as in the `Retry-After` header, which an event cannot carry. */
  retry_after: optional(number),
});
export type Problem = Infer<typeof problem>;
