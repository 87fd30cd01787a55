import { useCallback, useEffect, useRef, useState } from 'react';
import { isAbort, toFailure, type Failure } from '../api/client';
import type { ChatEvent } from '../api/events';
import type { LessonPlan, SectionName } from '../api/types';
import { useApi } from '../app-context';
import { Chat } from '../chat/Chat';
import { useConversation } from '../chat/useConversation';
import { useI18n } from '../i18n';
import { href, navigate } from '../router';
import { FailureNotice } from '../ui/FailureNotice';
import { Icon } from '../ui/Icon';
import { Sheet } from '../ui/Sheet';
import { useWide } from '../ui/hooks';
import { useToast } from '../ui/toast';
import { Outline } from './Outline';
import { PlanActions } from './PlanActions';
import { PlanDocument, scrollToSection } from './PlanDocument';
import { PlanFrame } from './PlanFrame';
import { Skeleton } from './SourcePanel';

interface Props {
  id: string;
  /** The plan, when it has just been written. */
  known: LessonPlan | undefined;
}

export function PlanPage({ id, known }: Props) {
  const api = useApi();
  const { t } = useI18n();
  const [plan, setPlan] = useState(known);
  const [failure, setFailure] = useState<Failure>();
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    if (known && attempt === 0) return undefined;
    const controller = new AbortController();
    setFailure(undefined);
    api.plan(id, controller.signal).then(setPlan, (error: unknown) => {
      if (!isAbort(error)) setFailure(toFailure(error));
    });
    return () => controller.abort();
  }, [api, id, known, attempt]);

  if (plan) return <LoadedPlan plan={plan} onPlan={setPlan} />;
  const missing = failure?.kind === 'problem' && failure.problem.status === 404;
  return (
    <main id="content" className="narrow-page">
      {missing ? (
        <div className="notice">
          <div className="notice-text">
            <p>{t('plan_not_found')}</p>
            <div className="notice-actions">
              <a className="btn btn-small" href={href({ name: 'start' })}>
                {t('home')}
              </a>
            </div>
          </div>
        </div>
      ) : failure ? (
        <FailureNotice failure={failure} onRetry={() => setAttempt((n) => n + 1)} />
      ) : (
        <div className="sheet" role="status" aria-label={t('loading')}>
          <Skeleton lines={8} />
        </div>
      )}
    </main>
  );
}

function LoadedPlan({ plan, onPlan }: { plan: LessonPlan; onPlan: (update: (plan: LessonPlan | undefined) => LessonPlan | undefined) => void }) {
  const api = useApi();
  const { t, language } = useI18n();
  const toast = useToast();
  const wide = useWide();
  const [updated, setUpdated] = useState<ReadonlySet<SectionName>>(new Set());
  const [rewriting, setRewriting] = useState<SectionName>();
  const [rewriteFailure, setRewriteFailure] = useState<{ section: SectionName; failure: Failure }>();
  const [chatOpen, setChatOpen] = useState(false);
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  useEffect(() => {
    document.title = `${plan.topic} · ${t('app_name')}`;
  }, [plan.topic, t]);

  const mark = useCallback((section: SectionName) => setUpdated((now) => new Set(now).add(section)), []);

  const onChatEvent = (event: ChatEvent): void => {
    switch (event.type) {
      case 'section.started':
        setRewriting(event.section);
        break;
      case 'section.completed': {
        const { section, content } = event.value;
        setRewriting(undefined);
        onPlan((now) => now && { ...now, sections: { ...now.sections, [section]: content } });
        mark(section);
        break;
      }
      case 'citation':
        break;
      case 'done': {
        setRewriting(undefined);
        const whole = event.plan;
        if (whole) onPlan(() => whole);
        break;
      }
      case 'error':
        setRewriting(undefined);
        break;
      case 'message.delta':
      case 'section.delta':
        break;
    }
  };
  const chatting = useConversation(plan.id, onChatEvent);
  const idle = chatting.conversation.pending === undefined;
  // A conversation that broke off or was stopped leaves no section behind as being rewritten.
  const byButton = running.current !== undefined;
  useEffect(() => {
    if (idle && !byButton) setRewriting(undefined);
  }, [idle, byButton]);

  const regenerate = async (section: SectionName): Promise<void> => {
    if (running.current) return;
    const controller = new AbortController();
    running.current = controller;
    setRewriting(section);
    setRewriteFailure(undefined);
    try {
      const next = await api.regenerate(plan.id, section, controller.signal);
      onPlan(() => next);
      mark(section);
      toast(t('regenerated', { section: t(`section_${section}`) }));
    } catch (error) {
      if (!isAbort(error)) setRewriteFailure({ section, failure: toFailure(error) });
    } finally {
      running.current = undefined;
      setRewriting(undefined);
    }
  };

  const showSection = (section: SectionName): void => {
    setChatOpen(false);
    // After the layer has gone, so that the page can scroll.
    requestAnimationFrame(() => scrollToSection(section));
  };

  const percent = Math.round(plan.coverage.cited_fraction * 100);
  return (
    <PlanFrame
      citations={plan.citations}
      outline={<Outline done={() => true} current={rewriting} updated={updated} />}
      side={<Chat chatting={chatting} onShowSection={showSection} />}
      layer={
        !wide && (
          <>
            <button type="button" className="chat-fab" onClick={() => setChatOpen(true)}>
              <Icon name="chat" />
              {t('chat_open')}
            </button>
            {chatOpen && (
              <Sheet label={t('chat_title')} shape="bottom" onClose={() => setChatOpen(false)}>
                <Chat chatting={chatting} onShowSection={showSection} onClose={() => setChatOpen(false)} />
              </Sheet>
            )}
          </>
        )
      }
    >
      <div className="plan-bar">
        <a className="text-link back-link" href={href({ name: 'start' })}>
          <Icon name="back" size={16} />
          {t('home')}
        </a>
        <PlanActions plan={plan} onDeleted={() => navigate(href({ name: 'start' }), { replace: true })} />
      </div>
      {rewriteFailure && (
        <FailureNotice failure={rewriteFailure.failure} onRetry={() => void regenerate(rewriteFailure.section)} />
      )}
      <PlanDocument
        head={{ ...plan, notes: plan.notes }}
        marks={
          <>
            <span className="mark mark-ai">
              <Icon name="spark" size={14} />
              {t('plan_ai_label')}
            </span>
            <span className="mark mark-coverage" title={t('plan_coverage_hint')}>
              <Ring fraction={plan.coverage.cited_fraction} />
              {t('plan_coverage', { percent })}
            </span>
            {plan.coverage.standards.length > 0 && (
              <span className="mark">
                <Icon name="book" size={14} />
                {t('plan_standards_n', { n: plan.coverage.standards.length })}
              </span>
            )}
          </>
        }
        sections={plan.sections}
        citations={plan.citations}
        current={rewriting}
        updated={updated}
        onRegenerate={rewriting ? undefined : (name) => void regenerate(name)}
        footer={t('plan_made_by', {
          model: plan.generated_by.model,
          date: new Date(plan.created_at).toLocaleString(language, { dateStyle: 'medium', timeStyle: 'short' }),
          version: plan.generated_by.prompt_version,
          label: plan.generated_by.label,
        })}
      />
    </PlanFrame>
  );
}

function Ring({ fraction }: { fraction: number }) {
  const length = 2 * Math.PI * 6;
  return (
    <svg className="ring" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      <circle cx="8" cy="8" r="6" />
      <circle cx="8" cy="8" r="6" strokeDasharray={`${length * Math.min(1, Math.max(0, fraction))} ${length}`} transform="rotate(-90 8 8)" />
    </svg>
  );
}
