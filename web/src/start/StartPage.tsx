import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import { SUBJECTS, type LessonRequest } from '../api/types';
import { useI18n, type MessageKey } from '../i18n';
import { ALL_GRADES, gradeLabel } from '../labels';
import type { Writing } from '../plan/writing';
import { href } from '../router';
import { Icon } from '../ui/Icon';
import { parseWish } from '../wish/parse';
import { ConceptInput } from './ConceptInput';
import { editsOf, fieldsOf, MINUTES, NOTES_LIMIT, validate, type Edits, type Invalid } from './lesson-form';
import { ModelStatus } from './ModelStatus';
import { RecentPlans } from './RecentPlans';

interface Props {
  /** A request to change and send again. */
  initial: LessonRequest | undefined;
  writing: Writing | undefined;
  onStart: (request: LessonRequest) => void;
}

export function StartPage({ initial, writing, onStart }: Props) {
  const { t, language } = useI18n();
  const [sentence, setSentence] = useState('');
  const [edits, setEdits] = useState<Edits>(() => (initial ? editsOf(initial) : {}));
  const [invalid, setInvalid] = useState<Invalid>({});
  const wish = useMemo(() => parseWish(sentence), [sentence]);
  const fields = fieldsOf(wish, edits);
  const area = useRef<HTMLTextAreaElement>(null);
  const form = useRef<HTMLDivElement>(null);
  const formShown = sentence.trim() !== '' || Object.keys(edits).length > 0;

  useEffect(() => {
    const box = area.current;
    if (!box) return;
    box.style.height = 'auto';
    box.style.height = `${box.scrollHeight}px`;
  }, [sentence]);

  const edit = (change: Edits): void => {
    setEdits((now) => ({ ...now, ...change }));
    setInvalid({});
  };

  const submit = (): void => {
    const result = validate(fields);
    if ('request' in result) {
      onStart(result.request);
      return;
    }
    setInvalid(result.invalid);
    // Show the form, if it is not there yet, and lead to the first thing missing.
    if (!formShown) setEdits({ topic: fields.topic });
    const first = (['topic', 'grade', 'minutes'] as const).find((name) => result.invalid[name]);
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>(`#field-${first ?? 'topic'}`)?.focus());
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      submit();
    }
  };

  const error = (name: keyof Invalid) => {
    const key = invalid[name];
    return (
      key && (
        <p className="field-error" id={`error-${name}`}>
          {t(key)}
        </p>
      )
    );
  };

  return (
    <main id="content" className="start">
      <div className="start-hero">
        <p className="start-greeting">{t(greeting(new Date().getHours()))}</p>
        <h1>{t('start_title')}</h1>
        <p className="start-lead">{t('start_lead')}</p>

        <ModelStatus />
        {writing?.phase === 'writing' && (
          <p className="in-progress" role="status">
            <span className="pulse" />
            {t('in_progress', { topic: writing.request.topic })}
            <a className="text-link" href={href({ name: 'new' })}>
              {t('in_progress_view')}
            </a>
          </p>
        )}

        <form
          className="wish"
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            submit();
          }}
        >
          <label className="sr-only" htmlFor="wish">
            {t('wish_label')}
          </label>
          <textarea
            id="wish"
            ref={area}
            rows={2}
            autoFocus={window.matchMedia('(hover: hover)').matches}
            value={sentence}
            placeholder={t('wish_placeholder')}
            maxLength={2000}
            onChange={(event) => {
              setSentence(event.target.value);
              setInvalid({});
            }}
            onKeyDown={onKeyDown}
          />

          {formShown && (
            <div className="fields" ref={form}>
              <p className="fields-lead">
                {t('form_confirm_lead')}
                {(language === 'en' || wish.language === 'en') && ` ${t('plan_language_note')}`}
              </p>
              <div className="field field-topic">
                <label htmlFor="field-topic">{t('field_topic')}</label>
                <ConceptInput
                  id="field-topic"
                  value={fields.topic}
                  subject={fields.subject}
                  grade={fields.grade}
                  invalid={invalid.topic !== undefined}
                  describedBy={invalid.topic ? 'error-topic' : undefined}
                  onChange={(topic) => edit({ topic })}
                  onPick={(concept) =>
                    edit({
                      topic: concept.label,
                      subject: concept.subject,
                      ...(fields.grade === undefined ? { grade: concept.grade } : {}),
                    })
                  }
                />
                {error('topic')}
              </div>
              <div className="field">
                <label htmlFor="field-subject">{t('field_subject')}</label>
                <select
                  id="field-subject"
                  className="input"
                  value={fields.subject}
                  onChange={(event) => edit({ subject: SUBJECTS.find((id) => id === event.target.value) ?? 'math' })}
                >
                  {SUBJECTS.map((id) => (
                    <option key={id} value={id}>
                      {t(`subject_${id}`)}
                    </option>
                  ))}
                </select>
              </div>
              <div className="field">
                <label htmlFor="field-grade">{t('field_grade')}</label>
                <select
                  id="field-grade"
                  className="input"
                  value={fields.grade ?? ''}
                  aria-invalid={invalid.grade !== undefined}
                  aria-describedby={invalid.grade ? 'error-grade' : undefined}
                  onChange={(event) => edit({ grade: event.target.value === '' ? undefined : Number(event.target.value) })}
                >
                  <option value="">—</option>
                  {ALL_GRADES.map((grade) => (
                    <option key={grade} value={grade}>
                      {gradeLabel(grade, t)}
                    </option>
                  ))}
                </select>
                {error('grade')}
              </div>
              <div className="field">
                <label htmlFor="field-minutes">{t('field_minutes')}</label>
                <div className="stepper">
                  <button
                    type="button"
                    aria-label={t('decrease')}
                    onClick={() => edit({ minutes: Math.max(MINUTES.least, (fields.minutes ?? 45) - 5) })}
                  >
                    <Icon name="minus" size={16} />
                  </button>
                  <input
                    id="field-minutes"
                    className="input"
                    inputMode="numeric"
                    value={fields.minutes ?? ''}
                    aria-invalid={invalid.minutes !== undefined}
                    aria-describedby={invalid.minutes ? 'error-minutes' : undefined}
                    onChange={(event) => {
                      const digits = event.target.value.replace(/\D/g, '').slice(0, 3);
                      edit({ minutes: digits === '' ? undefined : Number(digits) });
                    }}
                  />
                  <button
                    type="button"
                    aria-label={t('increase')}
                    onClick={() => edit({ minutes: Math.min(MINUTES.most, (fields.minutes ?? 45) + 5) })}
                  >
                    <Icon name="plus" size={16} />
                  </button>
                </div>
                {error('minutes')}
              </div>
              <div className="field field-notes">
                <label htmlFor="field-notes">{t('field_notes')}</label>
                <textarea
                  id="field-notes"
                  className="input"
                  rows={2}
                  maxLength={NOTES_LIMIT}
                  value={fields.notes}
                  placeholder={t('field_notes_placeholder')}
                  onChange={(event) => edit({ notes: event.target.value })}
                />
              </div>
            </div>
          )}

          <div className="wish-foot">
            <p className="wish-hint">{t('wish_hint')}</p>
            <button type="submit" className="btn btn-primary" disabled={!formShown}>
              {t('wish_submit')}
              <Icon name="arrow" size={16} />
            </button>
          </div>
        </form>

        {!formShown && (
          <div className="examples">
            <span>{t('example_label')}</span>
            {(['example_1', 'example_2', 'example_3'] satisfies MessageKey[]).map((key) => (
              <button
                key={key}
                type="button"
                className="chip chip-action"
                onClick={() => {
                  setSentence(t(key));
                  area.current?.focus();
                }}
              >
                {t(key)}
              </button>
            ))}
          </div>
        )}
      </div>
      <RecentPlans />
    </main>
  );
}

function greeting(hour: number): MessageKey {
  if (hour >= 5 && hour < 11) return 'greeting_morning';
  if (hour >= 11 && hour < 13) return 'greeting_noon';
  if (hour >= 13 && hour < 18) return 'greeting_afternoon';
  return 'greeting_evening';
}
