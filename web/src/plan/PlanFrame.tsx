import { useMemo, useRef, useState, type ReactNode } from 'react';
import type { Citations } from '../api/types';
import { useI18n } from '../i18n';
import { useWide } from '../ui/hooks';
import { Sheet } from '../ui/Sheet';
import { SourcePanel } from './SourcePanel';
import { SourcesContext, type Source } from './sources';

interface Props {
  citations: Citations;
  outline: ReactNode;
  /** What stands beside the document while no source is open; on a narrow screen it is elsewhere. */
  side: ReactNode;
  /** On a narrow screen, a layer above the document (the chat). */
  layer?: ReactNode;
  children: ReactNode;
}

/** Outline, document, and one column that shows the chat or a source. */
export function PlanFrame({ citations, outline, side, layer, children }: Props) {
  const { t } = useI18n();
  const wide = useWide();
  const [trail, setTrail] = useState<Source[]>([]);
  const source = trail.at(-1);
  const active = source?.type === 'citation' ? source.key : undefined;
  const opener = useRef<Element>(null);
  const close = (): void => {
    setTrail([]);
    // Back to the mark that was followed. A modal dialog does this by itself.
    if (wide && opener.current instanceof HTMLElement) opener.current.focus({ preventScroll: true });
  };
  const sources = useMemo(
    () => ({
      citations,
      active,
      open: (next: Source) => {
        opener.current = document.activeElement;
        setTrail([next]);
      },
    }),
    [citations, active],
  );

  const panel = source && (
    <SourcePanel
      source={source}
      onOpen={(next) => setTrail((now) => [...now, next])}
      onBack={trail.length > 1 ? () => setTrail((now) => now.slice(0, -1)) : undefined}
      onClose={close}
    />
  );

  return (
    <SourcesContext.Provider value={sources}>
      <div className="plan-layout">
        {outline}
        <main id="content" className="plan-main">
          {children}
        </main>
        {wide && (
          <aside
            className="side"
            onKeyDown={(event) => {
              if (event.key === 'Escape' && source) close();
            }}
          >
            {/* The chat stays mounted behind a source, with its scroll position and its half-written message. */}
            <div className="side-layer" hidden={Boolean(source)}>
              {side}
            </div>
            {panel && <div className="side-layer side-source">{panel}</div>}
          </aside>
        )}
      </div>
      {layer}
      {!wide && panel && (
        <Sheet label={t('source_panel')} shape="bottom" onClose={close}>
          {panel}
        </Sheet>
      )}
    </SourcesContext.Provider>
  );
}
