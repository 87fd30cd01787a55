import type { Failure } from '../api/client';
import type { ChatEvent } from '../api/events';
import type { ChatMessage, Citations, SectionName } from '../api/types';

export interface Message {
  role: 'user' | 'assistant';
  text: string;
  /** Sources that the message brings along; a key that is missing here is looked up in the plan. */
  citations: Citations;
  /** All keys that the message cites, whether or not its text marks them. */
  cited: string[];
  changed: SectionName | undefined;
}

/** The conversation beside a plan; at most one answer is on its way. */
export interface Conversation {
  messages: Message[];
  pending: Pending | undefined;
  /** The last message's failure; its text can be sent again. */
  failure: { failure: Failure; text: string } | undefined;
}

interface Pending {
  question: string;
  text: string;
  citations: Citations;
  changing: SectionName | undefined;
  changed: SectionName | undefined;
}

export type ConversationAction =
  | { type: 'loaded'; messages: ChatMessage[] }
  | { type: 'sent'; text: string }
  | { type: 'event'; event: ChatEvent }
  | { type: 'stopped' }
  | { type: 'failed'; failure: Failure };

export const emptyConversation: Conversation = { messages: [], pending: undefined, failure: undefined };

const fromWire = (message: ChatMessage): Message => ({
  role: message.role,
  text: message.text,
  citations: Array.isArray(message.citations) ? {} : message.citations,
  cited: Array.isArray(message.citations) ? message.citations : Object.keys(message.citations),
  changed: message.changed_section ?? message.section,
});

export function reduceConversation(state: Conversation, action: ConversationAction): Conversation {
  const { pending } = state;
  switch (action.type) {
    case 'loaded':
      // A message sent while the history was loading is the newer one.
      return { ...state, messages: [...action.messages.map(fromWire), ...state.messages] };
    case 'sent': {
      // Sending again after a failure does not repeat the question in the list.
      const repeated = state.failure?.text === action.text;
      const question: Message = { role: 'user', text: action.text, citations: {}, cited: [], changed: undefined };
      return {
        messages: repeated ? state.messages : [...state.messages, question],
        pending: { question: action.text, text: '', citations: {}, changing: undefined, changed: undefined },
        failure: undefined,
      };
    }
    case 'stopped':
      return pending ? { messages: [...state.messages, ...answerOf(pending)], pending: undefined, failure: undefined } : state;
    case 'failed':
      return pending ? fail(state, pending, action.failure) : state;
    case 'event':
      return pending ? reduceEvent(state, pending, action.event) : state;
  }
}

/** What has been said so far, if anything. */
const answerOf = (pending: Pending): Message[] =>
  pending.text === '' && !pending.changed
    ? []
    : [{ role: 'assistant', text: pending.text, citations: pending.citations, cited: [], changed: pending.changed }];

function fail(state: Conversation, pending: Pending, failure: Failure): Conversation {
  return { messages: [...state.messages, ...answerOf(pending)], pending: undefined, failure: { failure, text: pending.question } };
}

function reduceEvent(state: Conversation, pending: Pending, event: ChatEvent): Conversation {
  switch (event.type) {
    case 'message.delta':
      return { ...state, pending: { ...pending, text: pending.text + event.text } };
    case 'citation':
      return { ...state, pending: { ...pending, citations: { ...pending.citations, [event.key]: event.citation } } };
    case 'section.started':
      return { ...state, pending: { ...pending, changing: event.section } };
    case 'section.delta':
      return state;
    case 'section.completed':
      return { ...state, pending: { ...pending, changing: undefined, changed: event.value.section } };
    case 'error':
      return fail(state, pending, { kind: 'problem', problem: event.problem, retryAfter: event.problem.retry_after });
    case 'done': {
      const message = fromWire(event.message);
      return {
        messages: [
          ...state.messages,
          {
            ...message,
            text: message.text || pending.text,
            citations: { ...pending.citations, ...message.citations },
            changed: message.changed ?? pending.changed,
          },
        ],
        pending: undefined,
        failure: undefined,
      };
    }
  }
}
