import { memo } from 'react';
import type { LessonSections } from '../../api/types';
import { useI18n } from '../../i18n';
import { levelLabel } from '../../labels';
import { Rich } from '../../markdown/render';
import { CiteChips } from '../CiteChip';
import { VettedMark } from '../VettedMark';
import { Empty } from './lists';

export const Assessment = memo(function Assessment({ criteria }: { criteria: LessonSections['assessment'] }) {
  const { t } = useI18n();
  if (criteria.length === 0) return <Empty />;
  const count = Math.max(...criteria.map((item) => item.levels.length));
  const levels = Array.from({ length: count }, (_, i) => levelLabel(i, count, t));
  return (
    <table className="rubric">
      <thead>
        <tr>
          <th scope="col">{t('criterion')}</th>
          {levels.map((label, i) => (
            <th key={i} scope="col">
              {label}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {criteria.map((item, i) => (
          <tr key={i}>
            <th scope="row">
              <Rich text={item.criterion} />
              <CiteChips ids={item.citations} />
              <VettedMark source={item.source} />
            </th>
            {levels.map((label, n) => (
              <td key={n} data-level={label}>
                <Rich text={item.levels[n] ?? ''} />
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
});
