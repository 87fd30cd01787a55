import { memo, useEffect, useRef, type ReactNode } from 'react';
import { SECTION_NAMES, type Citations, type LessonSections, type NamedRef, type SectionName, type Subject } from '../api/types';
import { useI18n } from '../i18n';
import { gradeLabel, ordinal } from '../labels';
import { Rich } from '../markdown/render';
import { Icon } from '../ui/Icon';
import { CiteChip } from './CiteChip';
import { sectionBody } from './sections';
import { Skeleton } from './SourcePanel';
import { useSources } from './sources';
import { draftLines } from './writing';

export interface PlanHead {
  topic: string;
  subject: Subject;
  grade: number;
  minutes: number;
  notes: string | undefined;
  concepts: NamedRef[];
}

interface Props {
  head: PlanHead;
  /** Marks and facts beside the title. */
  marks?: ReactNode;
  sections: Partial<LessonSections>;
  citations: Citations;
  /** The section being written or rewritten, with its text so far. */
  current?: SectionName | undefined;
  draft?: string;
  /** Whether sections without content are still to come. */
  pending?: boolean;
  updated?: ReadonlySet<SectionName>;
  onRegenerate?: ((name: SectionName) => void) | undefined;
  footer?: ReactNode;
}

export const sectionAnchor = (name: SectionName): string => `section-${name}`;

export function scrollToSection(name: SectionName): void {
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  document.getElementById(sectionAnchor(name))?.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
}

export function PlanDocument({ head, marks, sections, citations, current, draft = '', pending = false, updated, onRegenerate, footer }: Props) {
  const { t } = useI18n();
  const { open } = useSources();
  return (
    <article className="sheet">
      <header className="plan-head">
        <p className="plan-kicker">
          {t(`subject_${head.subject}`)}
          <i />
          {gradeLabel(head.grade, t)}
          <i />
          {t('minutes_n', { n: head.minutes })}
        </p>
        <h1>
          <Rich text={head.topic} />
        </h1>
        {marks && <div className="plan-marks">{marks}</div>}
        {head.concepts.length > 0 && (
          <div className="plan-concepts">
            <span className="field-name">{t('plan_concepts')}</span>
            <div className="chip-row">
              {head.concepts.map((concept) => (
                <button key={concept.id} type="button" className="chip chip-action" onClick={() => open({ type: 'concept', ...concept })}>
                  {concept.label}
                </button>
              ))}
            </div>
          </div>
        )}
        {head.notes && (
          <div className="plan-concepts">
            <span className="field-name">{t('plan_notes')}</span>
            <p>{head.notes}</p>
          </div>
        )}
      </header>

      {SECTION_NAMES.map((name, index) => (
        <PlanSection
          key={name}
          name={name}
          index={index}
          sections={sections}
          writing={current === name}
          draft={current === name ? draft : ''}
          pending={pending}
          updated={updated?.has(name) ?? false}
          onRegenerate={onRegenerate}
        />
      ))}

      <References citations={citations} />
      {footer && <footer className="plan-foot">{footer}</footer>}
    </article>
  );
}

interface SectionProps {
  name: SectionName;
  index: number;
  sections: Partial<LessonSections>;
  writing: boolean;
  draft: string;
  pending: boolean;
  updated: boolean;
  onRegenerate: ((name: SectionName) => void) | undefined;
}

function PlanSection({ name, index, sections, writing, draft, pending, updated, onRegenerate }: SectionProps) {
  const { t, language } = useI18n();
  const body = sectionBody(name, sections);
  const has = sections[name] !== undefined;
  if (!has && !pending && !writing) return null;
  const state = writing ? 'writing' : has ? 'done' : 'waiting';
  const label = t(`section_${name}`);
  return (
    <section id={sectionAnchor(name)} className="section" data-state={state} data-updated={updated} aria-busy={writing} aria-label={label}>
      <header className="section-head">
        <span className="section-no" aria-hidden="true">
          {ordinal(index, language === 'zh-CN')}
        </span>
        <h2>{label}</h2>
        {updated && (
          <span className="badge badge-updated">
            <Icon name="check" size={12} />
            {t('plan_updated')}
          </span>
        )}
        {onRegenerate && has && (
          <button
            type="button"
            className="icon-btn section-redo"
            onClick={() => onRegenerate(name)}
            disabled={writing}
            aria-label={`${t('regenerate')}：${label}`}
            title={t('regenerate')}
          >
            <Icon name="redo" size={16} />
          </button>
        )}
      </header>
      <div className="section-body">
        {writing && has && (
          <p className="rewriting">
            <span className="pulse" />
            {t('regenerating')}
          </p>
        )}
        {body}
        {writing && !has && <Draft text={draft} />}
        {!writing && !has && <Skeleton lines={2} />}
      </div>
    </section>
  );
}

/** The text as it is being written, before it has been checked. */
function Draft({ text }: { text: string }) {
  const lines = draftLines(text);
  if (lines.length === 0) return <Skeleton lines={3} />;
  return (
    <div className="draft" data-long={text.length > 240} aria-hidden="true">
      {lines.map((line, i) => (
        <p key={i}>
          <Rich text={line} />
        </p>
      ))}
    </div>
  );
}

const References = memo(function References({ citations }: { citations: Citations }) {
  const { t } = useI18n();
  const entries = Object.entries(citations).sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)));
  const details = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    // On paper, the list of sources is always there.
    const unfold = (): void => {
      if (details.current) details.current.open = true;
    };
    window.addEventListener('beforeprint', unfold);
    return () => window.removeEventListener('beforeprint', unfold);
  }, []);
  if (entries.length === 0) return null;
  return (
    <details className="references" ref={details}>
      <summary>
        <Icon name="chevron" size={16} />
        {t('plan_sources')}
        <span>{t('plan_sources_n', { n: entries.length })}</span>
      </summary>
      <ol>
        {entries.map(([key, citation]) => (
          <li key={key}>
            <CiteChip id={key} />
            <span>
              <Rich text={citation.title} />
              <small>
                {t(`source_${citation.kind}`)}
                {citation.locator ? ` · ${citation.locator}` : ''}
              </small>
            </span>
          </li>
        ))}
      </ol>
    </details>
  );
});
