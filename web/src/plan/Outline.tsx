import { useEffect, useState } from 'react';
import { SECTION_NAMES, type SectionName } from '../api/types';
import { useI18n } from '../i18n';
import { Icon } from '../ui/Icon';
import { scrollToSection, sectionAnchor } from './PlanDocument';

interface Props {
  /** Sections that can be read. */
  done: (name: SectionName) => boolean;
  current: SectionName | undefined;
  updated: ReadonlySet<SectionName> | undefined;
}

export function Outline({ done, current, updated }: Props) {
  const { t } = useI18n();
  const here = useVisibleSection();
  return (
    <nav className="outline" aria-label={t('plan_outline')}>
      <ol>
        {SECTION_NAMES.map((name) => (
          <li key={name} data-state={current === name ? 'writing' : done(name) ? 'done' : 'waiting'} data-updated={updated?.has(name) ?? false}>
            <button type="button" aria-current={here === name ? 'location' : undefined} onClick={() => scrollToSection(name)}>
              <span className="outline-dot">{done(name) && current !== name && <Icon name="check" size={10} />}</span>
              {t(`section_${name}`)}
            </button>
          </li>
        ))}
      </ol>
    </nav>
  );
}

/** The section at the top of the window. */
function useVisibleSection(): SectionName | undefined {
  const [here, setHere] = useState<SectionName>();
  useEffect(() => {
    let frame = 0;
    const measure = (): void => {
      frame = 0;
      let last: SectionName | undefined;
      for (const name of SECTION_NAMES) {
        const top = document.getElementById(sectionAnchor(name))?.getBoundingClientRect().top;
        if (top !== undefined && top < 180) last = name;
      }
      setHere(last);
    };
    const onScroll = (): void => {
      if (frame === 0) frame = requestAnimationFrame(measure);
    };
    window.addEventListener('scroll', onScroll, { passive: true });
    return () => {
      window.removeEventListener('scroll', onScroll);
      cancelAnimationFrame(frame);
    };
  }, []);
  return here;
}
