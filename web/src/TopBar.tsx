import type { Session } from './api/types';
import { useI18n } from './i18n';
import { href } from './router';
import { Icon, Logo } from './ui/Icon';
import { useTheme } from './ui/theme';

interface Props {
  session: Session | undefined;
  onSignOut: (() => void) | undefined;
}

export function TopBar({ session, onSignOut }: Props) {
  const { t, language, setLanguage } = useI18n();
  const { theme, next } = useTheme();
  return (
    <>
      <a
        className="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          const content = document.getElementById('content');
          content?.setAttribute('tabindex', '-1');
          content?.focus();
        }}
      >
        {t('skip_to_content')}
      </a>
      <header className="topbar">
        <a className="brand" href={href({ name: 'start' })}>
          <Logo />
          <span>{t('app_name')}</span>
        </a>
        <div className="topbar-end">
          {session && (
            <span className="who">
              {session.school && <span>{session.school}</span>}
              {t(`role_${session.role}`)}
            </span>
          )}
          <button
            type="button"
            className="icon-btn lang-btn"
            lang={language === 'en' ? 'zh-CN' : 'en'}
            onClick={() => setLanguage(language === 'en' ? 'zh-CN' : 'en')}
          >
            {t('language_switch')}
          </button>
          <button type="button" className="icon-btn" onClick={next} aria-label={t(`theme_${theme}`)} title={t(`theme_${theme}`)}>
            <Icon name={theme === 'auto' ? 'auto' : theme === 'light' ? 'sun' : 'moon'} />
          </button>
          {onSignOut && (
            <button type="button" className="icon-btn" onClick={onSignOut} aria-label={t('sign_out')} title={t('sign_out')}>
              <Icon name="out" />
            </button>
          )}
        </div>
      </header>
    </>
  );
}
