import { memo, useState } from 'react';
import { HOMEWORK_LEVELS, type ExerciseItem, type LessonSections } from '../../api/types';
import { useI18n } from '../../i18n';
import { Markdown, Rich } from '../../markdown/render';
import { Icon } from '../../ui/Icon';
import { CiteChips } from '../CiteChip';
import { Empty } from './lists';

export const Homework = memo(function Homework({ homework }: { homework: LessonSections['homework'] }) {
  const { t } = useI18n();
  const keys = HOMEWORK_LEVELS.flatMap((level) => homework[level].map((_, i) => `${level}${i}`));
  const [shown, setShown] = useState<ReadonlySet<string>>(new Set());
  if (keys.length === 0) return <Empty />;
  const all = keys.every((key) => shown.has(key));
  const toggle = (key: string): void =>
    setShown((now) => {
      const next = new Set(now);
      if (!next.delete(key)) next.add(key);
      return next;
    });

  return (
    <>
      <div className="homework-bar">
        <button type="button" className="btn btn-quiet btn-small" onClick={() => setShown(new Set(all ? [] : keys))}>
          {t(all ? 'hide_all_answers' : 'show_all_answers')}
        </button>
      </div>
      {HOMEWORK_LEVELS.map((level) => {
        const exercises = homework[level];
        if (exercises.length === 0) return null;
        return (
          <div key={level} className={`homework homework-${level}`}>
            <h3>
              {t(`homework_${level}`)}
              <span>{t(`homework_${level}_hint`)}</span>
            </h3>
            <ol>
              {exercises.map((exercise, i) => {
                const key = `${level}${i}`;
                return <Exercise key={key} exercise={exercise} open={shown.has(key)} onToggle={() => toggle(key)} />;
              })}
            </ol>
          </div>
        );
      })}
    </>
  );
});

function Exercise({ exercise, open, onToggle }: { exercise: ExerciseItem; open: boolean; onToggle: () => void }) {
  const { t } = useI18n();
  return (
    <li className="exercise">
      <div className="exercise-prompt">
        <Markdown text={keepOptions(exercise.prompt)} />
      </div>
      <div className="exercise-foot">
        <button type="button" className="answer-toggle" aria-expanded={open} onClick={onToggle}>
          <Icon name="chevron" size={14} />
          {t(open ? 'hide_answer' : 'show_answer')}
        </button>
        {exercise.verified ? (
          <span className="badge badge-verified" title={t('verified_hint')}>
            <Icon name="check" size={12} />
            {t('verified')}
          </span>
        ) : (
          <span className="badge badge-unverified" title={t('unverified_hint')}>
            {t('unverified')}
          </span>
        )}
        <CiteChips ids={exercise.citations} />
      </div>
      <div className="answer" data-open={open} hidden={!open}>
        <span className="lead-in">{t('answer')}</span>
        <Rich text={exercise.answer} />
      </div>
    </li>
  );
}

/** The options of a choice begin on a line of their own, and each letter stays with what it stands for. */
const keepOptions = (prompt: string): string => prompt.replace(/\s+(?=A[.．、]\s)/, '\n').replace(/\s+(?=[B-F][.．、]\s)/g, '\u2003').replace(/([A-F][.．、])\s+/g, '$1\u00a0');
