import { useEffect, useState } from 'react';
import type { Readiness } from '../api/types';
import { useApi } from '../app-context';
import { useI18n, type MessageKey } from '../i18n';

const STATES = ['ready', 'loading', 'downloading', 'missing', 'failed'] as const;

/** Shown while the server cannot write yet; asks again every few seconds until it can. */
export function ModelStatus() {
  const api = useApi();
  const { t } = useI18n();
  const [readiness, setReadiness] = useState<Readiness | 'offline'>();
  const ready = readiness !== undefined && readiness !== 'offline' && readiness.ready;

  useEffect(() => {
    if (ready) return undefined;
    const controller = new AbortController();
    let timer = 0;
    const ask = async (): Promise<void> => {
      try {
        setReadiness(await api.readiness(controller.signal));
      } catch {
        if (!controller.signal.aborted) setReadiness('offline');
      }
      if (!controller.signal.aborted) timer = window.setTimeout(() => void ask(), 3000);
    };
    void ask();
    return () => {
      controller.abort();
      window.clearTimeout(timer);
    };
  }, [api, ready]);

  if (readiness === undefined || ready) return null;
  if (readiness === 'offline') {
    return (
      <p className="model-status" role="status">
        <span className="pulse" />
        {t('ready_offline')}
      </p>
    );
  }
  const roleOf = (role: string): MessageKey | undefined =>
    role === 'generator' ? 'model_generator' : role === 'encoder' ? 'model_encoder' : undefined;
  return (
    <section className="model-status" role="status" aria-label={t('ready_title')}>
      <h2>
        <span className="pulse" />
        {t('ready_title')}
      </h2>
      <p>{t('ready_lead')}</p>
      <ul>
        {readiness.models.map((model) => {
          const state = STATES.find((known) => known === model.state);
          const role = roleOf(model.role);
          const percent = /(\d+(?:\.\d+)?)\s*%/.exec(model.detail ?? '')?.[1];
          return (
            <li key={model.name} data-state={model.state}>
              <span className="model-name">
                {role ? t(role) : model.role}
                <small>{model.name}</small>
              </span>
              <span className="model-state">
                {state ? t(`state_${state}`) : model.state}
                {model.detail && <small>{model.detail}</small>}
              </span>
              {percent !== undefined && model.state !== 'ready' && (
                <span className="model-bar" aria-hidden="true">
                  <i style={{ width: `${Math.min(100, Number(percent))}%` }} />
                </span>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}
