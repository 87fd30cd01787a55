import { useEffect, useRef } from 'react';
import { SECTION_NAMES, type SectionName } from '../api/types';
import { Chat } from '../chat/Chat';
import { clock, useI18n } from '../i18n';
import { FailureNotice } from '../ui/FailureNotice';
import { Icon } from '../ui/Icon';
import { useNow } from '../ui/hooks';
import { Outline } from './Outline';
import { PlanDocument, scrollToSection } from './PlanDocument';
import { PlanFrame } from './PlanFrame';
import type { WritingDesk } from './useWriting';
import { sectionsDone, type Writing } from './writing';

interface Props {
  desk: WritingDesk;
  writing: Writing;
  onEdit: () => void;
}

/** A plan on its way: what has arrived is a document already. */
export function WritingPage({ desk, writing, onEdit }: Props) {
  const { t } = useI18n();
  const { request, failure, phase } = writing;
  const follow = useFollow(writing.current);
  const done = sectionsDone(writing);
  const active = phase === 'writing';
  const nothing = done === 0 && !active;
  const head = { ...request, notes: request.notes, concepts: writing.concepts };

  const edit = (
    <button type="button" className="btn btn-small" onClick={onEdit}>
      {t('writing_edit')}
    </button>
  );
  const notice = failure ? (
    <FailureNotice
      failure={failure}
      topic={request.topic}
      onRetry={() => desk.start(request)}
      onSuggestion={({ label }) => desk.start({ ...request, topic: label })}
    >
      {edit}
    </FailureNotice>
  ) : phase === 'stopped' ? (
    <div className="notice" role="status">
      <div className="notice-text">
        <p>{t('writing_stopped')}</p>
        <div className="notice-actions">
          <button type="button" className="btn btn-small" onClick={() => desk.start(request)}>
            <Icon name="redo" size={16} />
            {t('writing_again')}
          </button>
          {edit}
        </div>
      </div>
    </div>
  ) : null;

  if (nothing) {
    return (
      <main id="content" className="narrow-page">
        <h1 className="page-title">{request.topic}</h1>
        {notice}
      </main>
    );
  }
  return (
    <PlanFrame
      citations={writing.citations}
      outline={<Outline done={(name) => writing.sections[name] !== undefined} current={writing.current} updated={undefined} />}
      side={<Chat chatting={undefined} onShowSection={scrollToSection} />}
    >
      {active && <Progress writing={writing} onFollow={follow} onStop={desk.stop} />}
      {notice}
      <PlanDocument
        head={head}
        sections={writing.sections}
        citations={writing.citations}
        current={writing.current}
        draft={writing.draft}
        pending={active}
      />
    </PlanFrame>
  );
}

/** Keeps the section being written in view, until the teacher scrolls to read; the result takes up following again. */
function useFollow(current: SectionName | undefined): () => void {
  const following = useRef(true);
  useEffect(() => {
    const leave = (event: Event): void => {
      if (event instanceof KeyboardEvent && !/^(Arrow|Page|Home|End| )/.test(event.key)) return;
      following.current = false;
    };
    const kinds = ['wheel', 'touchmove', 'keydown'] as const;
    for (const kind of kinds) window.addEventListener(kind, leave, { passive: true });
    return () => {
      for (const kind of kinds) window.removeEventListener(kind, leave);
    };
  }, []);
  useEffect(() => {
    // The first section is below the title, and in view already.
    if (following.current && current && current !== SECTION_NAMES[0]) scrollToSection(current);
  }, [current]);
  return () => {
    following.current = true;
    if (current) scrollToSection(current);
  };
}

interface ProgressProps {
  writing: Writing;
  onFollow: () => void;
  onStop: () => void;
}

function Progress({ writing, onFollow, onStop }: ProgressProps) {
  const { t } = useI18n();
  const now = useNow(true);
  const done = sectionsDone(writing);
  const { current } = writing;
  const label = current ? t('writing_section', { section: t(`section_${current}`) }) : done === 0 ? t('writing_connecting') : '…';
  return (
    <div className="progress">
      <div className="progress-line">
        <span className="pulse" />
        {/* Only the change of section is announced, not the running clock. */}
        <p role="status" aria-live="polite" className="progress-label">
          {current ? (
            <button type="button" onClick={onFollow} title={t('writing_go')}>
              {label}
            </button>
          ) : (
            label
          )}
        </p>
        <span className="progress-count">{t('writing_count', { n: done, total: SECTION_NAMES.length })}</span>
        <span className="progress-time">{t('writing_elapsed', { time: clock(Math.max(0, now - writing.startedAt) / 1000) })}</span>
        <button type="button" className="btn btn-small btn-quiet" onClick={onStop}>
          <Icon name="stop" size={14} />
          {t('writing_stop')}
        </button>
      </div>
      <div
        className="progress-bar"
        role="progressbar"
        aria-label={t('writing_count', { n: done, total: SECTION_NAMES.length })}
        aria-valuemin={0}
        aria-valuemax={SECTION_NAMES.length}
        aria-valuenow={done}
      >
        {SECTION_NAMES.map((name) => (
          <span key={name} data-state={writing.sections[name] !== undefined ? 'done' : current === name ? 'writing' : 'waiting'} />
        ))}
      </div>
    </div>
  );
}
