import { memo, type ComponentType } from 'react';
import type { LessonSections } from '../../api/types';
import { useI18n } from '../../i18n';
import { Rich } from '../../markdown/render';
import { Icon } from '../../ui/Icon';
import { CiteChips } from '../CiteChip';
import { useSources } from '../sources';
import { VettedMark } from '../VettedMark';

export function Empty() {
  const { t } = useI18n();
  return <p className="empty">{t('empty_section')}</p>;
}

type ListName = 'objectives' | 'standards' | 'prerequisites' | 'key_points' | 'difficulties' | 'misconceptions';
type Row<K extends ListName> = { item: LessonSections[K][number] };

/** A section that is a list of items, each shown by `Row`. */
function listSection<T>(className: string, Row: ComponentType<{ item: T }>, List: 'ul' | 'ol' = 'ul') {
  return memo(function ListSection({ items }: { items: T[] }) {
    if (items.length === 0) return <Empty />;
    return (
      <List className={className}>
        {items.map((item, i) => (
          <li key={i}>
            <Row item={item} />
          </li>
        ))}
      </List>
    );
  });
}

/** A text and what it rests on. */
function Cited({ item }: { item: { text: string; citations: string[] } }) {
  return (
    <>
      <Rich text={item.text} />
      <CiteChips ids={item.citations} />
    </>
  );
}

export const KeyPoints = listSection('bullets', Cited);

export const Objectives = listSection('numbered', Objective, 'ol');

function Objective({ item }: Row<'objectives'>) {
  return (
    <>
      <p>
        <Cited item={item} />
      </p>
      {item.competency && <span className="tag">{item.competency}</span>}
      <VettedMark source={item.source} />
    </>
  );
}

export const Standards = listSection('standards', Standard);

function Standard({ item }: Row<'standards'>) {
  return (
    <>
      <p>
        <Cited item={item} />
      </p>
      <p className="standard-code">{item.code}</p>
    </>
  );
}

export const Prerequisites = listSection('prerequisites', Prerequisite);

function Prerequisite({ item }: Row<'prerequisites'>) {
  const { t } = useI18n();
  const { open } = useSources();
  return (
    <>
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
    </>
  );
}

export const Difficulties = listSection('difficulties', Difficulty);

function Difficulty({ item }: Row<'difficulties'>) {
  const { t } = useI18n();
  return (
    <>
      <p className="difficulty">
        <Rich text={item.text} />
      </p>
      <p className="remedy">
        <span className="lead-in">{t('remedy')}</span>
        <Cited item={{ text: item.remedy, citations: item.citations }} />
      </p>
    </>
  );
}

export const Misconceptions = listSection('pairs', Misconception);

function Misconception({ item }: Row<'misconceptions'>) {
  const { t } = useI18n();
  return (
    <>
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
          <Cited item={{ text: item.response, citations: item.citations }} />
        </p>
      </div>
    </>
  );
}
