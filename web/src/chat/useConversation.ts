import { useCallback, useEffect, useReducer, useRef, useState } from 'react';
import { isAbort, toFailure } from '../api/client';
import type { ChatEvent } from '../api/events';
import { useApi } from '../app-context';
import { emptyConversation, reduceConversation, type Conversation } from './conversation';

export interface Chatting {
  conversation: Conversation;
  loadFailed: boolean;
  send: (text: string) => void;
  stop: () => void;
}

/** The conversation beside the plan `id`; `onEvent` sees every event, to keep the plan itself up to date. */
export function useConversation(id: string, onEvent: (event: ChatEvent) => void): Chatting {
  const api = useApi();
  const [conversation, dispatch] = useReducer(reduceConversation, emptyConversation);
  const [loadFailed, setLoadFailed] = useState(false);
  const running = useRef<AbortController>(undefined);
  const listener = useRef(onEvent);
  listener.current = onEvent;

  useEffect(() => {
    const controller = new AbortController();
    api.messages(id, controller.signal).then(
      ({ items }) => {
        if (!controller.signal.aborted) dispatch({ type: 'loaded', messages: items });
      },
      (error: unknown) => {
        if (!isAbort(error)) setLoadFailed(true);
      },
    );
    return () => controller.abort();
  }, [api, id]);

  useEffect(() => () => running.current?.abort(), []);

  const send = useCallback(
    (text: string) => {
      if (running.current) return;
      const controller = new AbortController();
      running.current = controller;
      dispatch({ type: 'sent', text });
      void (async () => {
        try {
          for await (const event of api.sendMessage(id, text, controller.signal)) {
            dispatch({ type: 'event', event });
            listener.current(event);
          }
        } catch (error) {
          dispatch(controller.signal.aborted ? { type: 'stopped' } : { type: 'failed', failure: toFailure(error) });
        } finally {
          running.current = undefined;
        }
      })();
    },
    [api, id],
  );

  const stop = useCallback(() => running.current?.abort(), []);
  return { conversation, loadFailed, send, stop };
}
