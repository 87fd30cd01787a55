import { createContext, useContext } from 'react';
import type { Citation, Citations } from '../api/types';

/** What the source panel can show. */
export type Source =
  | { type: 'citation'; key: string; citation: Citation }
  | { type: 'concept'; id: string; label: string };

interface Sources {
  citations: Citations;
  open: (source: Source) => void;
  /** The key whose source is open. */
  active: string | undefined;
}

const none: Sources = { citations: {}, open: () => undefined, active: undefined };

export const SourcesContext = createContext<Sources>(none);
export const useSources = (): Sources => useContext(SourcesContext);
