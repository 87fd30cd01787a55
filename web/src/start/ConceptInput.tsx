import { useEffect, useId, useRef, useState, type KeyboardEvent } from 'react';
import { isAbort } from '../api/client';
import type { ConceptSummary, Subject } from '../api/types';
import { useApi } from '../app-context';
import { useI18n } from '../i18n';
import { gradeLabel } from '../labels';
import { useDebounced } from '../ui/hooks';
import { TOPIC_LIMIT } from './lesson-form';

interface Props {
  id: string;
  value: string;
  subject: Subject;
  grade: number | undefined;
  invalid: boolean;
  describedBy: string | undefined;
  onChange: (value: string) => void;
  onPick: (concept: ConceptSummary) => void;
}

/** The topic, with the graph's concepts suggested while typing (ARIA combobox). */
export function ConceptInput({ id, value, subject, grade, invalid, describedBy, onChange, onPick }: Props) {
  const api = useApi();
  const { t, language } = useI18n();
  const list = useId();
  const [open, setOpen] = useState(false);
  const [items, setItems] = useState<ConceptSummary[]>();
  const [at, setAt] = useState(-1);
  const query = useDebounced(value.trim(), 220);
  const box = useRef<HTMLDivElement>(null);

  useEffect(() => {
    setAt(-1);
    if (!open || query === '') {
      setItems(undefined);
      return undefined;
    }
    const controller = new AbortController();
    // The grade is left out: a teacher may look for a concept that the graph has in another year.
    api.concepts({ q: query, subject, limit: 6 }, controller.signal).then(
      ({ items: found }) => setItems(found),
      (error: unknown) => {
        // Suggestions are a help; when they fail, the topic can still be typed.
        if (!isAbort(error)) setItems(undefined);
      },
    );
    return () => controller.abort();
  }, [api, query, subject, open]);

  const shown = open && items !== undefined && query !== '' && !(items.length === 1 && items[0]?.label === query);
  const pick = (concept: ConceptSummary): void => {
    onPick(concept);
    setOpen(false);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === 'Escape' && shown) {
      event.stopPropagation();
      setOpen(false);
    }
    if (!items || items.length === 0) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      setOpen(true);
      const step = event.key === 'ArrowDown' ? 1 : -1;
      setAt((now) => (now < 0 ? (step > 0 ? 0 : items.length - 1) : (now + step + items.length) % items.length));
    }
    const chosen = items[at];
    if (event.key === 'Enter' && shown && chosen) {
      event.preventDefault();
      pick(chosen);
    }
  };

  return (
    <div
      className="combobox"
      ref={box}
      onBlur={(event) => {
        if (!(event.relatedTarget instanceof Node) || !box.current?.contains(event.relatedTarget)) setOpen(false);
      }}
    >
      <input
        id={id}
        className="input"
        type="text"
        role="combobox"
        autoComplete="off"
        aria-expanded={shown}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={shown && at >= 0 ? `${list}-${at}` : undefined}
        aria-invalid={invalid}
        aria-describedby={describedBy}
        maxLength={TOPIC_LIMIT}
        value={value}
        placeholder={t('field_topic_placeholder')}
        onChange={(event) => {
          onChange(event.target.value);
          setOpen(true);
        }}
        onKeyDown={onKeyDown}
      />
      {shown && (
        <div className="suggestions">
          <p>{t(items.length > 0 ? 'concept_from_graph' : 'concept_none')}</p>
          <ul id={list} role="listbox" aria-label={t('concept_from_graph')}>
            {items.map((concept, i) => (
              <li
                key={concept.id}
                id={`${list}-${i}`}
                role="option"
                aria-selected={i === at}
                onPointerDown={(event) => event.preventDefault()}
                onClick={() => pick(concept)}
              >
                <span>{language === 'en' && concept.label_en ? concept.label_en : concept.label}</span>
                <small data-other={grade !== undefined && grade !== concept.grade}>
                  {gradeLabel(concept.grade, t)}
                  {concept.unit ? ` · ${concept.unit.label}` : ''}
                </small>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}
