import { useEffect, useState } from 'react';
import { loadPreference, savePreference } from '../storage';

const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const stored = (): Theme => THEMES.find((theme) => theme === loadPreference('theme')) ?? 'auto';

const apply = (theme: Theme): void => {
  const dark = theme === 'dark' || (theme === 'auto' && window.matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset['theme'] = dark ? 'dark' : 'light';
};

/** Called before the first render, so that the page does not flash in the other theme. */
export const applyStoredTheme = (): void => apply(stored());

export function useTheme(): { theme: Theme; next: () => void } {
  const [theme, setTheme] = useState(stored);
  useEffect(() => {
    apply(theme);
    savePreference('theme', theme === 'auto' ? undefined : theme);
    if (theme !== 'auto') return undefined;
    const system = window.matchMedia('(prefers-color-scheme: dark)');
    const follow = (): void => apply('auto');
    system.addEventListener('change', follow);
    return () => system.removeEventListener('change', follow);
  }, [theme]);
  return { theme, next: () => setTheme((now) => THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] ?? 'auto') };
}
