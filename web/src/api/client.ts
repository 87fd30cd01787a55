import { DecodeError, parseJson, type Decoder } from './decode';
import { decodeChatEvent, decodePlanEvent, type ChatEvent, type PlanEvent } from './events';
import { readFrames, StreamCut, type SseFrame } from './sse';
import {
  chatMessage,
  concept,
  conceptSummary,
  lessonPlan,
  openedSession,
  page,
  planSummary,
  problem,
  readiness,
  session,
  type ChatMessage,
  type Concept,
  type ConceptSummary,
  type LessonPlan,
  type LessonRequest,
  type PlanSummary,
  type Problem,
  type Readiness,
  type SectionName,
  type Session,
  type Subject,
} from './types';

/** Why a call did not work, in the form in which the page shows it. */
export type Failure =
  | { kind: 'problem'; problem: Problem; retryAfter: number | undefined }
  /** Nothing came back: the server is down or the network is. */
  | { kind: 'network' }
  /** The stream ended without `done` or `error`. */
  | { kind: 'cut' }
  /** The answer is not what the contract says; the text is for a report, not for the teacher. */
  | { kind: 'unreadable'; detail: string };

export class ApiError extends Error {
  constructor(
    readonly problem: Problem,
    readonly retryAfter: number | undefined,
  ) {
    super(problem.detail || problem.title);
    this.name = 'ApiError';
  }
}

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === 'AbortError';

export function toFailure(error: unknown): Failure {
  if (error instanceof ApiError) return { kind: 'problem', problem: error.problem, retryAfter: error.retryAfter };
  if (error instanceof StreamCut) return { kind: 'cut' };
  if (error instanceof DecodeError) return { kind: 'unreadable', detail: error.message };
  // `fetch` and a broken body both reject with a TypeError.
  if (error instanceof TypeError) return { kind: 'network' };
  // A defect of the page: the teacher sees that something failed, the console says what.
  console.error(error);
  return { kind: 'unreadable', detail: String(error) };
}

/** Seconds until a retry makes sense; the header holds seconds or a date. */
export function retryAfterSeconds(header: string | null, now: number): number | undefined {
  if (header === null || header.trim() === '') return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, Math.ceil(seconds));
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}

async function toApiError(response: Response): Promise<ApiError> {
  const text = await response.text();
  const retryAfter = retryAfterSeconds(response.headers.get('retry-after'), Date.now());
  try {
    const body = parseJson(text, problem);
    return new ApiError({ ...body, status: body.status || response.status }, retryAfter ?? body.retry_after);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    // A proxy in front of the server answers in its own words.
    const blank: Problem = {
      type: 'about:blank',
      title: response.statusText,
      status: response.status,
      code: `http_${response.status}`,
      detail: '',
      errors: [],
      suggestions: [],
      retry_after: undefined,
    };
    return new ApiError(blank, retryAfter);
  }
}

interface Call {
  method?: 'GET' | 'POST' | 'DELETE';
  body?: unknown;
  accept?: string;
  signal?: AbortSignal | undefined;
  token?: string;
}

/** The server, as this page uses it. Rejects with `ApiError`, `DecodeError`, `StreamCut`, a network or an abort error. */
export class Api {
  constructor(
    private readonly token: () => string | undefined,
    /** Called on every 401, so that an expired session leads back to the sign-in page from anywhere. */
    private readonly onUnauthorized: () => void,
  ) {}

  openSession(token: string): Promise<{ token: string }> {
    return this.json(openedSession, '/v1/sessions', { method: 'POST', body: { token } });
  }

  /** Who the caller is; with `key`, whom that key belongs to. */
  session(key?: string): Promise<Session> {
    return this.json(session, '/v1/session', key === undefined ? {} : { token: key });
  }

  async readiness(signal?: AbortSignal): Promise<Readiness> {
    const response = await fetch('/readyz', { headers: { accept: 'application/json' }, signal: signal ?? null });
    // 503 is the answer "not yet", with the same body.
    return parseJson(await response.text(), readiness);
  }

  concepts(
    query: { q: string; subject?: Subject | undefined; grade?: number | undefined; limit: number },
    signal?: AbortSignal,
  ): Promise<{ items: ConceptSummary[] }> {
    const search = new URLSearchParams({ q: query.q, limit: String(query.limit) });
    if (query.subject) search.set('subject', query.subject);
    if (query.grade) search.set('grade', String(query.grade));
    return this.json(page(conceptSummary), `/v1/graph/concepts?${search}`, { signal });
  }

  concept(id: string, signal?: AbortSignal): Promise<Concept> {
    return this.json(concept, `/v1/graph/concepts/${encodeURIComponent(id)}`, { signal });
  }

  plans(cursor: string | undefined, limit: number, signal?: AbortSignal): Promise<{ items: PlanSummary[]; next_cursor: string | undefined }> {
    const search = new URLSearchParams({ limit: String(limit) });
    if (cursor) search.set('cursor', cursor);
    return this.json(page(planSummary), `/v1/lesson-plans?${search}`, { signal });
  }

  plan(id: string, signal?: AbortSignal): Promise<LessonPlan> {
    return this.json(lessonPlan, planPath(id), { signal });
  }

  async deletePlan(id: string): Promise<void> {
    await this.call(planPath(id), { method: 'DELETE' });
  }

  regenerate(id: string, section: SectionName, signal: AbortSignal): Promise<LessonPlan> {
    return this.json(lessonPlan, `${planPath(id)}/sections/${section}/regenerate`, { method: 'POST', signal });
  }

  async exportPlan(id: string, format: 'md' | 'json'): Promise<Blob> {
    const response = await this.call(`${planPath(id)}/export?format=${format}`, { accept: '*/*' });
    return response.blob();
  }

  createPlan(request: LessonRequest, signal: AbortSignal): AsyncGenerator<PlanEvent, void, undefined> {
    return this.stream(decodePlanEvent, '/v1/lesson-plans', request, signal);
  }

  messages(id: string, signal?: AbortSignal): Promise<{ items: ChatMessage[] }> {
    return this.json(page(chatMessage), `${planPath(id)}/messages`, { signal });
  }

  sendMessage(id: string, text: string, signal: AbortSignal): AsyncGenerator<ChatEvent, void, undefined> {
    return this.stream(decodeChatEvent, `${planPath(id)}/messages`, { text }, signal);
  }

  private async call(path: string, { method = 'GET', body, accept = 'application/json', signal, token }: Call): Promise<Response> {
    // Errors explain themselves in the language of the page, which need not be the browser's.
    const headers: Record<string, string> = { accept, 'accept-language': document.documentElement.lang };
    const bearer = token ?? this.token();
    if (bearer !== undefined) headers['authorization'] = `Bearer ${bearer}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    const response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
    });
    if (response.ok) return response;
    if (response.status === 401 && token === undefined) this.onUnauthorized();
    throw await toApiError(response);
  }

  private async json<T>(decoder: Decoder<T>, path: string, call: Call): Promise<T> {
    const response = await this.call(path, call);
    return parseJson(await response.text(), decoder);
  }

  private async *stream<E extends { type: string }>(
    decode: (frame: SseFrame) => E | undefined,
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): AsyncGenerator<E, void, undefined> {
    const response = await this.call(path, { method: 'POST', body, accept: 'text/event-stream', signal });
    if (!response.body) throw new StreamCut();
    for await (const frame of readFrames(response.body)) {
      const event = decode(frame);
      if (!event) continue;
      yield event;
      if (event.type === 'done' || event.type === 'error') return;
    }
    throw new StreamCut();
  }
}

const planPath = (id: string): string => `/v1/lesson-plans/${encodeURIComponent(id)}`;
