import { memo } from 'react';
import { useI18n } from '../i18n';
import { useSources } from './sources';

/** A citation mark; opens the source. A key that leads nowhere shows nothing: an empty promise helps nobody. */
export const CiteChip = memo(function CiteChip({ id }: { id: string }) {
  const { citations, open, active } = useSources();
  const { t } = useI18n();
  const citation = citations[id];
  if (!citation) return null;
  return (
    <button
      type="button"
      className={`cite cite-${citation.kind}`}
      aria-pressed={active === id}
      aria-label={t('source_open', { key: id, title: citation.title })}
      title={citation.title}
      onClick={() => open({ type: 'citation', key: id, citation })}
    >
      {id}
    </button>
  );
});

export const CiteChips = memo(function CiteChips({ ids }: { ids: string[] }) {
  if (ids.length === 0) return null;
  return (
    <span className="cites">
      {ids.map((id) => (
        <CiteChip key={id} id={id} />
      ))}
    </span>
  );
});
