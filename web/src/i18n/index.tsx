import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from 'react';
import type { Language } from '../api/types';
import { loadPreference, savePreference } from '../storage';
import { en } from './en';
import { zh, type MessageKey } from './zh';

export type { MessageKey };
export type Translate = (key: MessageKey, values?: Record<string, string | number>) => string;

interface I18n {
  language: Language;
  setLanguage: (language: Language) => void;
  t: Translate;
}

const Context = createContext<I18n | undefined>(undefined);

const initialLanguage = (): Language => {
  const stored = loadPreference('language');
  if (stored === 'zh-CN' || stored === 'en') return stored;
  // Chinese comes first: English only for a browser that asks for English and not for Chinese.
  const wanted = navigator.languages;
  return wanted.some((tag) => tag.startsWith('en')) && !wanted.some((tag) => tag.startsWith('zh')) ? 'en' : 'zh-CN';
};

export function translator(language: Language): Translate {
  const messages = language === 'en' ? en : zh;
  return (key, values) => messages[key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values?.[name] ?? whole));
}

export function I18nProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState(initialLanguage);
  useEffect(() => {
    document.documentElement.lang = language;
    savePreference('language', language);
  }, [language]);
  const value = useMemo(() => ({ language, setLanguage, t: translator(language) }), [language]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useI18n(): I18n {
  const value = useContext(Context);
  if (!value) throw new Error('useI18n outside I18nProvider');
  return value;
}

/** 3 小时前, 5 min ago; a date after a week. */
export function relativeTime(iso: string, now: number, language: Language, t: Translate): string {
  const minutes = Math.floor((now - Date.parse(iso)) / 60_000);
  if (Number.isNaN(minutes)) return '';
  if (minutes < 1) return t('just_now');
  if (minutes < 60) return t('minutes_ago', { n: minutes });
  if (minutes < 24 * 60) return t('hours_ago', { n: Math.floor(minutes / 60) });
  if (minutes < 7 * 24 * 60) return t('days_ago', { n: Math.floor(minutes / 1440) });
  return new Date(iso).toLocaleDateString(language);
}

export const clock = (seconds: number): string =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
