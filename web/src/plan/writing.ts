import type { Failure } from '../api/client';
import type { PlanEvent } from '../api/events';
import {
  SECTION_NAMES,
  type Citations,
  type LessonPlan,
  type LessonRequest,
  type LessonSections,
  type NamedRef,
  type SectionName,
} from '../api/types';

/** A plan while it is being written. */
export interface Writing {
  request: LessonRequest;
  phase: 'writing' | 'done' | 'stopped' | 'failed';
  /** Milliseconds, on the clock that the caller uses throughout. */
  startedAt: number;
  endedAt: number | undefined;
  concepts: NamedRef[];
  sections: Partial<LessonSections>;
  citations: Citations;
  /** The section being written now, and its text so far. */
  current: SectionName | undefined;
  draft: string;
  failure: Failure | undefined;
  plan: LessonPlan | undefined;
}

export type WritingAction =
  | { type: 'event'; event: PlanEvent; at: number }
  | { type: 'stopped'; at: number }
  | { type: 'failed'; failure: Failure; at: number };

export const startWriting = (request: LessonRequest, at: number): Writing => ({
  request,
  phase: 'writing',
  startedAt: at,
  endedAt: undefined,
  concepts: [],
  sections: {},
  citations: {},
  current: undefined,
  draft: '',
  failure: undefined,
  plan: undefined,
});

export const sectionsDone = (writing: Writing): number =>
  SECTION_NAMES.filter((name) => writing.sections[name] !== undefined).length;

export function reduceWriting(state: Writing, action: WritingAction): Writing {
  // What the network still delivers after the end changes nothing.
  if (state.phase !== 'writing') return state;
  switch (action.type) {
    case 'stopped':
      return { ...state, phase: 'stopped', endedAt: action.at, current: undefined, draft: '' };
    case 'failed':
      return { ...state, phase: 'failed', endedAt: action.at, failure: action.failure, current: undefined, draft: '' };
    case 'event':
      return reduceEvent(state, action.event, action.at);
  }
}

function reduceEvent(state: Writing, event: PlanEvent, at: number): Writing {
  switch (event.type) {
    case 'plan.created':
      return { ...state, concepts: event.concepts };
    case 'section.started':
      return { ...state, current: event.section, draft: '' };
    case 'section.delta':
      return event.section === state.current
        ? { ...state, draft: state.draft + event.text }
        : { ...state, current: event.section, draft: event.text };
    case 'section.completed': {
      const { section, content } = event.value;
      const ended = state.current === section;
      return {
        ...state,
        sections: { ...state.sections, [section]: content },
        current: ended ? undefined : state.current,
        draft: ended ? '' : state.draft,
      };
    }
    case 'citation':
      return { ...state, citations: { ...state.citations, [event.key]: event.citation } };
    case 'error':
      return {
        ...state,
        phase: 'failed',
        endedAt: at,
        failure: { kind: 'problem', problem: event.problem, retryAfter: event.problem.retry_after },
        current: undefined,
        draft: '',
      };
    case 'done':
      return {
        ...state,
        phase: 'done',
        endedAt: at,
        plan: event.plan,
        concepts: event.plan.concepts,
        sections: event.plan.sections,
        citations: event.plan.citations,
        current: undefined,
        draft: '',
      };
  }
}

/**
 * The readable part of a section that is still being written. The model may write plain text or, under a grammar, JSON;
 * of JSON, unfinished as it is, only the texts are shown, not the keys, ids and citation marks.
 */
export function draftLines(draft: string): string[] {
  const text = draft.trimStart();
  if (!text.startsWith('{') && !text.startsWith('[')) return text === '' ? [] : text.split(/\n+/).filter((line) => line.trim() !== '');
  const lines: string[] = [];
  let i = 0;
  while (i < text.length) {
    if (text[i] !== '"') {
      i += 1;
      continue;
    }
    let value = '';
    i += 1;
    while (i < text.length && text[i] !== '"') {
      if (text[i] === '\\') {
        const escape = text[i + 1] ?? '';
        if (escape === 'u') {
          const code = Number.parseInt(text.slice(i + 2, i + 6), 16);
          if (!Number.isNaN(code)) value += String.fromCharCode(code);
          i += 6;
          continue;
        }
        value += { n: '\n', t: ' ', r: '', b: '', f: '' }[escape] ?? escape;
        i += 2;
        continue;
      }
      value += text.charAt(i);
      i += 1;
    }
    i += 1;
    const isKey = /^\s*:/.test(text.slice(i, i + 8));
    const isMark = /^(?:c\d+|[a-z]+:[a-z0-9-]+)$/.test(value);
    if (!isKey && !isMark && value.trim() !== '') lines.push(value);
  }
  // An unfinished key at the very end looks like a text: real texts of a plan are not bare ASCII identifiers.
  return lines.filter((line) => !/^[a-z_]+$/.test(line));
}
