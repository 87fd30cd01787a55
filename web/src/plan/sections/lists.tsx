import { memo } from 'react';
import type { LessonSections } from '../../api/types';
import { useI18n } from '../../i18n';
import { Rich } from '../../markdown/render';
import { Icon } from '../../ui/Icon';
import { CiteChips } from '../CiteChip';
import { useSources } from '../sources';
import { VettedMark } from '../VettedMark';

type Items<K extends keyof LessonSections> = { items: LessonSections[K] };

export function Empty() {
  const { t } = useI18n();
  return <p className="empty">{t('empty_section')}</p>;
}

export const Objectives = memo(function Objectives({ items }: Items<'objectives'>) {
  if (items.length === 0) return <Empty />;
  return (
    <ol className="numbered">
      {items.map((item, i) => (
        <li key={i}>
          <p>
            <Rich text={item.text} />
            <CiteChips ids={item.citations} />
          </p>
          {item.competency && <span className="tag">{item.competency}</span>}
          <VettedMark source={item.source} />
        </li>
      ))}
    </ol>
  );
});

export const Standards = memo(function Standards({ items }: Items<'standards'>) {
  if (items.length === 0) return <Empty />;
  return (
    <ul className="standards">
      {items.map((item, i) => (
        <li key={i}>
          <p>
            <Rich text={item.text} />
            <CiteChips ids={item.citations} />
          </p>
          <p className="standard-code">{item.code}</p>
        </li>
      ))}
    </ul>
  );
});

export const Prerequisites = memo(function Prerequisites({ items }: Items<'prerequisites'>) {
  const { t } = useI18n();
  const { open } = useSources();
  if (items.length === 0) return <Empty />;
  return (
    <ul className="prerequisites">
      {items.map((item, i) => (
        <li key={i}>
          <p className="prerequisite-name">
            <button type="button" className="text-link" onClick={() => open({ type: 'concept', id: item.concept, label: item.label })}>
              {item.label}
            </button>
            <CiteChips ids={item.citations} />
          </p>
          {item.check_question && (
            <p>
              <span className="lead-in">{t('check_question')}</span>
              <Rich text={item.check_question} />
            </p>
          )}
        </li>
      ))}
    </ul>
  );
});

export const KeyPoints = memo(function KeyPoints({ items }: Items<'key_points'>) {
  if (items.length === 0) return <Empty />;
  return (
    <ul className="bullets">
      {items.map((item, i) => (
        <li key={i}>
          <Rich text={item.text} />
          <CiteChips ids={item.citations} />
        </li>
      ))}
    </ul>
  );
});

export const Difficulties = memo(function Difficulties({ items }: Items<'difficulties'>) {
  const { t } = useI18n();
  if (items.length === 0) return <Empty />;
  return (
    <ul className="difficulties">
      {items.map((item, i) => (
        <li key={i}>
          <p className="difficulty">
            <Rich text={item.text} />
          </p>
          <p className="remedy">
            <span className="lead-in">{t('remedy')}</span>
            <Rich text={item.remedy} />
            <CiteChips ids={item.citations} />
          </p>
        </li>
      ))}
    </ul>
  );
});

export const Misconceptions = memo(function Misconceptions({ items }: Items<'misconceptions'>) {
  const { t } = useI18n();
  if (items.length === 0) return <Empty />;
  return (
    <ul className="pairs">
      {items.map((item, i) => (
        <li key={i}>
          <div className="pair-error">
            <p className="pair-label">
              <Icon name="close" size={14} />
              {t('student_error')}
            </p>
            <p>
              <Rich text={item.text} />
            </p>
          </div>
          <div className="pair-response">
            <p className="pair-label">
              <Icon name="check" size={14} />
              {t('teacher_response')}
            </p>
            <p>
              <Rich text={item.response} />
              <CiteChips ids={item.citations} />
            </p>
          </div>
        </li>
      ))}
    </ul>
  );
});
