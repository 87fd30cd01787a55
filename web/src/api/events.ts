import { object, optional, parseJson, string, withDefault, array } from './decode';
import type { SseFrame } from './sse';
import {
  chatMessage,
  citation,
  decodeSection,
  lessonPlan,
  problem,
  sectionName,
  type ChatMessage,
  type Citation,
  type LessonPlan,
  type NamedRef,
  type Problem,
  type SectionContent,
  type SectionName,
} from './types';

/**
 * What arrives while a plan is written (`POST /v1/lesson-plans`).
 *
 * Order: `plan.created`, then for each section `section.started`, any number of `section.delta`, `section.completed`;
 * `citation` events come before or within the section that uses them. A section whose check failed starts again with a
 * second `section.started`, which voids its deltas. The stream ends with `done` or with `error`, never with both.
 */
export type PlanEvent =
  | { type: 'plan.created'; planId: string; concepts: NamedRef[] }
  | { type: 'section.started'; section: SectionName }
  | { type: 'section.delta'; section: SectionName; text: string }
  | { type: 'section.completed'; value: SectionContent }
  | { type: 'citation'; key: string; citation: Citation }
  | { type: 'error'; problem: Problem }
  | { type: 'done'; plan: LessonPlan };

/**
 * What arrives after a chat message (`POST /v1/lesson-plans/{id}/messages`). A question yields `message.delta`s and
 * `citation`s; a wish also yields the section that it changed, and `done` then carries the changed plan.
 */
export type ChatEvent =
  | { type: 'message.delta'; text: string }
  | { type: 'citation'; key: string; citation: Citation }
  | { type: 'section.started'; section: SectionName }
  | { type: 'section.delta'; section: SectionName; text: string }
  | { type: 'section.completed'; value: SectionContent }
  | { type: 'error'; problem: Problem }
  | { type: 'done'; message: ChatMessage; plan: LessonPlan | undefined };

const created = object({ plan_id: string, concepts: withDefault(array(object({ id: string, label: string })), []) });
const started = object({ section: sectionName });
const delta = object({ section: sectionName, text: string });
const completed = object({ section: sectionName, content: (value: unknown): unknown => value });
const cited = object({ key: string, citation });
const planDone = object({ plan: lessonPlan });
const textDelta = object({ text: string });
const chatDone = object({ message: chatMessage, plan: optional(lessonPlan) });

type SharedEvent = Extract<PlanEvent, ChatEvent>;

function decodeShared({ event, data }: SseFrame): SharedEvent | undefined {
  switch (event) {
    case 'section.started':
      return { type: event, ...parseJson(data, started) };
    case 'section.delta':
      return { type: event, ...parseJson(data, delta) };
    case 'section.completed': {
      const { section, content } = parseJson(data, completed);
      return { type: event, value: decodeSection(section, content) };
    }
    case 'citation':
      return { type: event, ...parseJson(data, cited) };
    case 'error':
      return { type: event, problem: parseJson(data, problem) };
    default:
      // A name that this page does not know comes from a newer server and is not ours to judge.
      return undefined;
  }
}

/** Undefined for an event that this page does not know; throws `DecodeError` for one that it should, but cannot read. */
export function decodePlanEvent(frame: SseFrame): PlanEvent | undefined {
  if (frame.event === 'plan.created') {
    const { plan_id, concepts } = parseJson(frame.data, created);
    return { type: frame.event, planId: plan_id, concepts };
  }
  if (frame.event === 'done') return { type: frame.event, ...parseJson(frame.data, planDone) };
  return decodeShared(frame);
}

/** See {@link decodePlanEvent}. */
export function decodeChatEvent(frame: SseFrame): ChatEvent | undefined {
  if (frame.event === 'message.delta') return { type: frame.event, ...parseJson(frame.data, textDelta) };
  if (frame.event === 'done') return { type: frame.event, ...parseJson(frame.data, chatDone) };
  return decodeShared(frame);
}
