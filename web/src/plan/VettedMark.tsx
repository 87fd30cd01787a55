import { useI18n } from '../i18n';

/** Marks wording that stands in for the model's. What the model wrote and the server checked is the rule, and unmarked. */
export function VettedMark({ source }: { source: string | undefined }) {
  const { t } = useI18n();
  if (source !== 'vetted') return null;
  return (
    <span className="badge badge-vetted" title={t('vetted_hint')}>
      {t('vetted')}
    </span>
  );
}
