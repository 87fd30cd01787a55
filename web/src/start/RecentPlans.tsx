import { useCallback, useEffect, useState } from 'react';
import { isAbort } from '../api/client';
import type { PlanSummary } from '../api/types';
import { useApi } from '../app-context';
import { relativeTime, useI18n } from '../i18n';
import { gradeLabel } from '../labels';
import { Rich } from '../markdown/render';
import { Skeleton } from '../plan/SourcePanel';
import { href } from '../router';

const PAGE = 12;

export function RecentPlans() {
  const api = useApi();
  const { t, language } = useI18n();
  const [plans, setPlans] = useState<PlanSummary[]>();
  const [cursor, setCursor] = useState<string>();
  const [failed, setFailed] = useState(false);

  const load = useCallback(
    async (from: string | undefined, signal?: AbortSignal): Promise<void> => {
      setFailed(false);
      try {
        const page = await api.plans(from, PAGE, signal);
        setPlans((now) => (from === undefined ? page.items : [...(now ?? []), ...page.items]));
        setCursor(page.next_cursor);
      } catch (error) {
        if (!isAbort(error)) setFailed(true);
      }
    },
    [api],
  );

  useEffect(() => {
    const controller = new AbortController();
    void load(undefined, controller.signal);
    return () => controller.abort();
  }, [load]);

  return (
    <section className="recent" aria-labelledby="recent-title">
      <h2 id="recent-title">{t('recent_title')}</h2>
      {plans === undefined && !failed && <Skeleton lines={3} />}
      {plans?.length === 0 && <p className="empty">{t('recent_empty')}</p>}
      {plans && plans.length > 0 && (
        <ul className="recent-list">
          {plans.map((plan) => (
            <li key={plan.id}>
              <a className="recent-card" href={href({ name: 'plan', id: plan.id })} data-subject={plan.subject}>
                <strong>
                  <Rich text={plan.topic} />
                </strong>
                <span>
                  {t(`subject_${plan.subject}`)} · {gradeLabel(plan.grade, t)} · {t('minutes_n', { n: plan.minutes })}
                </span>
                <time dateTime={plan.updated_at ?? plan.created_at}>
                  {relativeTime(plan.updated_at ?? plan.created_at, Date.now(), language, t)}
                </time>
              </a>
            </li>
          ))}
        </ul>
      )}
      {failed && (
        <p className="empty">
          {t('recent_error')}{' '}
          <button type="button" className="text-link" onClick={() => void load(cursor)}>
            {t('retry')}
          </button>
        </p>
      )}
      {cursor !== undefined && !failed && (
        <button type="button" className="btn btn-quiet btn-small" onClick={() => void load(cursor)}>
          {t('recent_more')}
        </button>
      )}
    </section>
  );
}
