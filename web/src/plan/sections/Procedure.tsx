import { memo } from 'react';
import type { LessonSections } from '../../api/types';
import { useI18n } from '../../i18n';
import { Markdown, Rich } from '../../markdown/render';
import { CiteChips } from '../CiteChip';
import { VettedMark } from '../VettedMark';
import { Empty } from './lists';

/** The lesson as a timeline: first the whole in proportion, then each step with its minutes. */
export const Procedure = memo(function Procedure({ steps }: { steps: LessonSections['procedure'] }) {
  const { t } = useI18n();
  if (steps.length === 0) return <Empty />;
  const total = steps.reduce((sum, step) => sum + step.minutes, 0);
  let clock = 0;
  return (
    <>
      <div className="timebar" aria-hidden="true">
        {steps.map((step, i) => (
          <span key={i} style={{ flexGrow: step.minutes }} title={`${step.title} ${t('minutes_n', { n: step.minutes })}`}>
            <b>{step.minutes}′</b>
            {step.minutes / total >= 0.13 && <em>{step.title}</em>}
          </span>
        ))}
      </div>
      <ol className="timeline">
        {steps.map((step, i) => {
          const from = clock;
          clock += step.minutes;
          return (
            <li key={i}>
              <div className="step-time">
                <strong>{step.minutes}′</strong>
                <span>{t('minute_range', { from, to: clock })}</span>
              </div>
              <div className="step">
                <h3>
                  <Rich text={step.title} />
                  <CiteChips ids={step.citations} />
                  <VettedMark source={step.source} />
                </h3>
                <div className="step-columns">
                  {step.teacher && (
                    <div>
                      <p className="step-label">{t('teacher')}</p>
                      <Markdown text={step.teacher} />
                    </div>
                  )}
                  {step.students && (
                    <div>
                      <p className="step-label">{t('students')}</p>
                      <Markdown text={step.students} />
                    </div>
                  )}
                </div>
                {step.purpose && (
                  <p className="step-purpose">
                    <span className="lead-in">{t('purpose')}</span>
                    <Rich text={step.purpose} />
                  </p>
                )}
              </div>
            </li>
          );
        })}
      </ol>
    </>
  );
});
