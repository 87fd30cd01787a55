import { useCallback, useEffect, useMemo, useState } from 'react';
import { Api } from './api/client';
import type { LessonPlan, LessonRequest, Session } from './api/types';
import { ApiContext } from './app-context';
import { clock, useI18n } from './i18n';
import { PlanPage } from './plan/PlanPage';
import { useWriting } from './plan/useWriting';
import { WritingPage } from './plan/WritingPage';
import { href, navigate, parseRoute, useHash } from './router';
import { SignInPage } from './signin/SignInPage';
import { StartPage } from './start/StartPage';
import { loadPreference, savePreference } from './storage';
import { TopBar } from './TopBar';
import { useToast } from './ui/toast';

export function App() {
  const hash = useHash();
  const route = useMemo(() => parseRoute(hash), [hash]);
  const [token, setToken] = useState(() => loadPreference('session'));
  const [expired, setExpired] = useState(false);

  const keep = useCallback((next: string | undefined) => {
    savePreference('session', next);
    setToken(next);
  }, []);

  const onSignedIn = useCallback(
    (next: string) => {
      setExpired(false);
      keep(next);
      // Takes the spent token out of the address and the history; a teacher who was signed out stays where she was.
      if (parseRoute(window.location.hash).name === 'signin') navigate(href({ name: 'start' }), { replace: true });
    },
    [keep],
  );

  if (token === undefined || route.name === 'signin') {
    return (
      <>
        <TopBar session={undefined} onSignOut={undefined} />
        <SignInPage linkToken={route.name === 'signin' ? route.token : undefined} expired={expired} onSignedIn={onSignedIn} />
      </>
    );
  }
  return (
    <SignedIn
      key={token}
      token={token}
      onSignOut={() => keep(undefined)}
      onExpired={() => {
        setExpired(true);
        keep(undefined);
      }}
    />
  );
}

interface SignedInProps {
  token: string;
  onSignOut: () => void;
  onExpired: () => void;
}

function SignedIn({ token, onSignOut, onExpired }: SignedInProps) {
  const { t } = useI18n();
  const toast = useToast();
  const hash = useHash();
  const route = useMemo(() => parseRoute(hash), [hash]);
  // One client for as long as the token lasts.
  const [api] = useState(() => new Api(() => token, onExpired));
  const [session, setSession] = useState<Session>();
  const [fresh, setFresh] = useState<LessonPlan>();
  const [editing, setEditing] = useState<LessonRequest>();

  useEffect(() => {
    // Only the role in the corner depends on it; a failure shows where the page really needs the server.
    api.session().then(setSession, () => undefined);
  }, [api]);

  const onDone = (plan: LessonPlan, seconds: number): void => {
    toast(t('writing_done', { time: clock(seconds) }));
    if (parseRoute(window.location.hash).name !== 'new') return;
    setFresh(plan);
    navigate(href({ name: 'plan', id: plan.id }), { replace: true });
  };
  const desk = useWriting(api, onDone);
  const { writing } = desk;

  // A reload forgets the plan that was being written; there is nothing to show at that address then.
  const lost = route.name === 'new' && (!writing || writing.phase === 'done');
  useEffect(() => {
    if (!lost) return;
    navigate(writing?.plan ? href({ name: 'plan', id: writing.plan.id }) : href({ name: 'start' }), { replace: true });
  }, [lost, writing]);

  const place = route.name === 'plan' ? route.id : route.name;
  useEffect(() => {
    if (!(route.name === 'plan' && fresh?.id === route.id)) window.scrollTo(0, 0);
  }, [place]);

  useEffect(() => {
    // The plan page keeps its plan up to date; once it is left, what we hold is old.
    if (fresh && place !== fresh.id && place !== 'new') setFresh(undefined);
  }, [fresh, place]);
  useEffect(() => {
    if (route.name !== 'plan') document.title = t('app_full');
  }, [route, t]);

  return (
    <ApiContext.Provider value={api}>
      <TopBar session={session} onSignOut={onSignOut} />
      {route.name === 'plan' ? (
        <PlanPage key={route.id} id={route.id} known={fresh?.id === route.id ? fresh : undefined} />
      ) : route.name === 'new' && writing && !lost ? (
        <WritingPage
          desk={desk}
          writing={writing}
          onEdit={() => {
            setEditing(writing.request);
            desk.clear();
            navigate(href({ name: 'start' }));
          }}
        />
      ) : (
        <StartPage
          initial={editing}
          writing={writing}
          onStart={(request) => {
            setEditing(undefined);
            desk.start(request);
            navigate(href({ name: 'new' }));
          }}
        />
      )}
    </ApiContext.Provider>
  );
}
