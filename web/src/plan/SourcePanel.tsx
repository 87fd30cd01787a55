import { useEffect, useRef, useState } from 'react';
import { isAbort, toFailure, type Failure } from '../api/client';
import type { Concept } from '../api/types';
import { useApi } from '../app-context';
import { useI18n } from '../i18n';
import { gradeLabel } from '../labels';
import { Markdown, Rich } from '../markdown/render';
import { FailureNotice } from '../ui/FailureNotice';
import { Icon } from '../ui/Icon';
import type { Source } from './sources';

interface Props {
  source: Source;
  onOpen: (source: Source) => void;
  onBack: (() => void) | undefined;
  onClose: () => void;
}

export function SourcePanel({ source, onOpen, onBack, onClose }: Props) {
  const { t } = useI18n();
  const heading = useRef<HTMLHeadingElement>(null);
  const kind = source.type === 'concept' ? 'concept' : source.citation.kind;
  const title = source.type === 'concept' ? source.label : source.citation.title;
  const conceptId = source.type === 'concept' ? source.id : kind === 'concept' ? source.citation.ref : undefined;

  useEffect(() => heading.current?.focus({ preventScroll: true }), [source]);

  return (
    <section className="source" aria-label={t('source_panel')}>
      <header className="panel-head">
        {onBack && (
          <button type="button" className="icon-btn" onClick={onBack} aria-label={t('back')}>
            <Icon name="back" />
          </button>
        )}
        <span className={`kind kind-${kind}`}>{t(`source_${kind}`)}</span>
        {source.type === 'citation' && <span className="source-key">{source.key}</span>}
        <button type="button" className="icon-btn panel-close" onClick={onClose} aria-label={t('close')}>
          <Icon name="close" />
        </button>
      </header>
      <div className="panel-scroll">
        <h2 className="source-title" tabIndex={-1} ref={heading}>
          <Rich text={title} />
        </h2>
        {source.type === 'citation' && (
          <>
            {source.citation.locator && (
              <p className="source-locator">
                <Icon name="book" size={15} />
                {source.citation.locator}
              </p>
            )}
            {source.citation.quote && (
              <figure className="quote">
                <figcaption>{t('source_quote')}</figcaption>
                <blockquote>
                  <Markdown text={source.citation.quote} />
                </blockquote>
              </figure>
            )}
          </>
        )}
        {conceptId && <ConceptCard key={conceptId} id={conceptId} onOpen={onOpen} />}
      </div>
    </section>
  );
}

function ConceptCard({ id, onOpen }: { id: string; onOpen: (source: Source) => void }) {
  const api = useApi();
  const { t, language } = useI18n();
  const [concept, setConcept] = useState<Concept>();
  const [failure, setFailure] = useState<Failure>();
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    const controller = new AbortController();
    setFailure(undefined);
    api.concept(id, controller.signal).then(setConcept, (error: unknown) => {
      if (!isAbort(error)) setFailure(toFailure(error));
    });
    return () => controller.abort();
  }, [api, id, attempt]);

  if (failure) return <FailureNotice compact failure={failure} onRetry={() => setAttempt((n) => n + 1)} />;
  if (!concept) return <Skeleton lines={5} />;
  const refs = (items: { id: string; label: string }[]) => (
    <div className="chip-row">
      {items.map((item) => (
        <button key={item.id} type="button" className="chip chip-action" onClick={() => onOpen({ type: 'concept', ...item })}>
          {item.label}
        </button>
      ))}
    </div>
  );

  return (
    <div className="concept">
      <p className="concept-meta">
        {language === 'zh-CN' ? concept.label_en : concept.label}
        {concept.unit && <span>{concept.unit.label}</span>}
        <span>{gradeLabel(concept.grade, t)}</span>
      </p>
      {concept.definition && (
        <>
          <h3>{t('concept_definition')}</h3>
          <p>
            <Rich text={concept.definition} />
          </p>
        </>
      )}
      {concept.key_points.length > 0 && (
        <>
          <h3>{t('concept_key_points')}</h3>
          <ul>
            {concept.key_points.map((point, i) => (
              <li key={i}>
                <Rich text={point} />
              </li>
            ))}
          </ul>
        </>
      )}
      {concept.examples.length > 0 && (
        <>
          <h3>{t('concept_examples')}</h3>
          {concept.examples.map((example, i) => (
            <div key={i} className="example">
              <p>
                <Rich text={example.prompt} />
              </p>
              {example.solution.map((step, n) => (
                <p key={n} className="example-step">
                  <Rich text={step} />
                </p>
              ))}
              {example.answer && (
                <p className="example-answer">
                  {t('concept_answer')}
                  <Rich text={example.answer} />
                </p>
              )}
            </div>
          ))}
        </>
      )}
      {concept.misconceptions.length > 0 && (
        <>
          <h3>{t('concept_misconceptions')}</h3>
          <ul>
            {concept.misconceptions.map((item, i) => (
              <li key={i}>
                <Rich text={item.text} />
                <span className="muted-block">
                  <Rich text={item.response} />
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      {concept.prerequisites.length > 0 && (
        <>
          <h3>{t('concept_prerequisites')}</h3>
          {refs(concept.prerequisites.map(({ id: ref, label }) => ({ id: ref, label })))}
        </>
      )}
      {concept.related.length > 0 && (
        <>
          <h3>{t('concept_related')}</h3>
          {refs(concept.related)}
        </>
      )}
      {concept.standards.length > 0 && (
        <>
          <h3>{t('concept_standards')}</h3>
          <ul>
            {concept.standards.map((standard, i) => (
              <li key={i}>
                {standard.text}
                <span className="muted-block">{standard.code}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

export function Skeleton({ lines }: { lines: number }) {
  return (
    <div className="skeleton" aria-hidden="true">
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} style={{ width: `${[92, 78, 85, 60, 70][i % 5]}%` }} />
      ))}
    </div>
  );
}
