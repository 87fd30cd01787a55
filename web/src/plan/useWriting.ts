import { useCallback, useEffect, useRef, useState } from 'react';
import { toFailure, type Api } from '../api/client';
import type { LessonPlan, LessonRequest } from '../api/types';
import { reduceWriting, startWriting, type Writing, type WritingAction } from './writing';

export interface WritingDesk {
  writing: Writing | undefined;
  start: (request: LessonRequest) => void;
  stop: () => void;
  clear: () => void;
}

/** Holds the plan that is being written while the teacher moves about the page; there is one at a time. */
export function useWriting(api: Api, onDone: (plan: LessonPlan, seconds: number) => void): WritingDesk {
  const [writing, setWriting] = useState<Writing>();
  const running = useRef<AbortController>(undefined);
  const finished = useRef(onDone);
  finished.current = onDone;

  const start = useCallback(
    (request: LessonRequest) => {
      running.current?.abort();
      const controller = new AbortController();
      running.current = controller;
      const startedAt = performance.now();
      setWriting(startWriting(request, startedAt));
      const dispatch = (action: WritingAction): void => {
        // A run that was replaced has nothing to say any more.
        if (running.current === controller) setWriting((now) => now && reduceWriting(now, action));
      };
      void (async () => {
        try {
          for await (const event of api.createPlan(request, controller.signal)) {
            dispatch({ type: 'event', event, at: performance.now() });
            if (event.type === 'done' && running.current === controller) finished.current(event.plan, (performance.now() - startedAt) / 1000);
          }
        } catch (error) {
          const at = performance.now();
          dispatch(controller.signal.aborted ? { type: 'stopped', at } : { type: 'failed', failure: toFailure(error), at });
        }
      })();
    },
    [api],
  );

  const stop = useCallback(() => running.current?.abort(), []);
  const clear = useCallback(() => {
    running.current?.abort();
    running.current = undefined;
    setWriting(undefined);
  }, []);

  const active = writing?.phase === 'writing';
  useEffect(() => {
    if (!active) return undefined;
    const ask = (event: BeforeUnloadEvent): void => event.preventDefault();
    window.addEventListener('beforeunload', ask);
    return () => window.removeEventListener('beforeunload', ask);
  }, [active]);
  useEffect(() => () => running.current?.abort(), []);

  return { writing, start, stop, clear };
}
