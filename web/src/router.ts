import { useSyncExternalStore } from 'react';

/** The page's places, kept in the address after `#` so that the server needs to know only one page. */
export type Route =
  | { name: 'start' }
  | { name: 'signin'; token: string | undefined }
  | { name: 'new' }
  | { name: 'plan'; id: string };

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  if (path === 'signin') return { name: 'signin', token: new URLSearchParams(query).get('token') ?? undefined };
  if (path === 'new') return { name: 'new' };
  const plan = /^plans\/([\w-]+)$/.exec(path);
  if (plan?.[1]) return { name: 'plan', id: plan[1] };
  return { name: 'start' };
}

export const href = (route: Exclude<Route, { name: 'signin' }>): string =>
  route.name === 'plan' ? `#/plans/${route.id}` : route.name === 'new' ? '#/new' : '#/';

export function navigate(to: string, { replace = false } = {}): void {
  if (replace) {
    history.replaceState(null, '', to);
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  } else {
    window.location.hash = to;
  }
}

const subscribe = (notify: () => void): (() => void) => {
  window.addEventListener('hashchange', notify);
  return () => window.removeEventListener('hashchange', notify);
};

export function useHash(): string {
  return useSyncExternalStore(subscribe, () => window.location.hash);
}
