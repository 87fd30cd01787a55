import { useEffect, useState, type ReactNode } from 'react';
import type { Failure } from '../api/client';
import type { NamedRef } from '../api/types';
import { useI18n, type Translate } from '../i18n';
import { Icon } from './Icon';
import { useNow } from './hooks';

interface Props {
  failure: Failure;
  /** What the teacher asked for, when the failure may be about it. */
  topic?: string;
  onRetry?: () => void;
  onSuggestion?: (suggestion: NamedRef) => void;
  compact?: boolean;
  children?: ReactNode;
}

/** Says what failed, in the teacher's words, and offers what can be done about it. */
export function FailureNotice({ failure, topic = '', onRetry, onSuggestion, compact = false, children }: Props) {
  const { t } = useI18n();
  const wait = failure.kind === 'problem' ? (failure.retryAfter ?? 0) : 0;
  const left = useCountdown(failure, wait);
  const { title, body } = describe(failure, topic, t);
  const suggestions = failure.kind === 'problem' ? failure.problem.suggestions : [];
  const unknownTopic = failure.kind === 'problem' && failure.problem.code === 'unknown_topic';
  // A topic that we do not know and a busy hour are not mistakes: no red pen for them.
  const calm = unknownTopic || wait > 0;
  const fields = failure.kind === 'problem' ? failure.problem.errors : [];

  return (
    <div className={`notice ${calm ? 'notice-calm' : 'notice-error'}${compact ? ' notice-compact' : ''}`} role="alert">
      <span className="notice-icon">
        <Icon name={unknownTopic ? 'book' : calm ? 'clock' : 'warn'} />
      </span>
      <div className="notice-text">
        <p className="notice-title">{title}</p>
        {body && <p>{body}</p>}
        {fields.length > 0 && (
          <ul className="notice-fields">
            {fields.map((error, i) => (
              <li key={i}>
                {error.field && <code>{error.field}</code>} {error.detail}
              </li>
            ))}
          </ul>
        )}
        {unknownTopic && suggestions.length > 0 && (
          <div className="chip-row">
            {suggestions.map((suggestion) => (
              <button key={suggestion.id} type="button" className="chip chip-action" onClick={() => onSuggestion?.(suggestion)}>
                {suggestion.label}
                <Icon name="arrow" size={14} />
              </button>
            ))}
          </div>
        )}
        {(onRetry || children) && (
          <div className="notice-actions">
            {onRetry && !unknownTopic && (
              <button type="button" className="btn btn-small" onClick={onRetry} disabled={left > 0}>
                <Icon name={left > 0 ? 'clock' : 'redo'} size={16} />
                {left > 0 ? t('error_retry_in', { n: left }) : t('retry')}
              </button>
            )}
            {children}
          </div>
        )}
      </div>
    </div>
  );
}

function useCountdown(failure: Failure, seconds: number): number {
  const [start, setStart] = useState(() => ({ failure, at: performance.now() }));
  useEffect(() => {
    setStart((last) => (last.failure === failure ? last : { failure, at: performance.now() }));
  }, [failure]);
  const [over, setOver] = useState(false);
  const now = useNow(seconds > 0 && !over);
  const left = seconds > 0 ? Math.max(0, Math.ceil(seconds - (now - start.at) / 1000)) : 0;
  useEffect(() => setOver(left === 0), [left]);
  return left;
}

function describe(failure: Failure, topic: string, t: Translate): { title: string; body: string | undefined } {
  switch (failure.kind) {
    case 'network':
      return { title: t('error_title'), body: t('error_network') };
    case 'cut':
      return { title: t('error_title'), body: t('error_cut') };
    case 'unreadable':
      return { title: t('error_title'), body: t('error_unreadable') };
    case 'problem': {
      const { problem } = failure;
      if (problem.code === 'unknown_topic') {
        return {
          title: t('error_unknown_topic', { topic }),
          body: problem.suggestions.length > 0 ? t('error_unknown_topic_body') : t('error_unknown_topic_none'),
        };
      }
      if (problem.status === 429) return { title: t('error_busy'), body: t('error_busy_body') };
      if (problem.status === 503) return { title: t('error_unavailable'), body: problem.detail || undefined };
      if (problem.status === 403) return { title: t('error_forbidden'), body: problem.detail || undefined };
      // `title` is for programs and always English; `detail` is for people.
      return { title: t('error_title'), body: problem.detail || problem.title || undefined };
    }
  }
}
