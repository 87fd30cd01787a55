/** What this browser remembers. Storage may be switched off (private windows, policies); then nothing is remembered. */
type Key = 'language' | 'theme' | 'session';
const name = (key: Key): string => `zhujiao.${key}`;

export function loadPreference(key: Key): string | undefined {
  try {
    return localStorage.getItem(name(key)) ?? undefined;
  } catch {
    return undefined;
  }
}

export function savePreference(key: Key, value: string | undefined): void {
  try {
    if (value === undefined) localStorage.removeItem(name(key));
    else localStorage.setItem(name(key), value);
  } catch {
    // Not remembered, as said above.
  }
}
