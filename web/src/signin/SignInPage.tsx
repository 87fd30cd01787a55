import { useEffect, useState } from 'react';
import { Api, ApiError, toFailure, type Failure } from '../api/client';
import { useI18n } from '../i18n';
import { parseRoute } from '../router';
import { FailureNotice } from '../ui/FailureNotice';
import { Icon, Logo } from '../ui/Icon';

interface Props {
  /** The token of a sign-in link that was opened. */
  linkToken: string | undefined;
  expired: boolean;
  onSignedIn: (token: string) => void;
}

const guest = new Api(
  () => undefined,
  () => undefined,
);

/** A link's token works once, so it must be spent once, however often the page renders. */
const spent = new Map<string, Promise<{ token: string }>>();

function spend(token: string): Promise<{ token: string }> {
  const running = spent.get(token) ?? guest.openSession(token);
  spent.set(token, running);
  return running;
}

type Refusal = 'signin_bad_link' | 'signin_bad_key';

export function SignInPage({ linkToken, expired, onSignedIn }: Props) {
  const { t } = useI18n();
  const [pasted, setPasted] = useState('');
  const [working, setWorking] = useState(linkToken !== undefined);
  const [refused, setRefused] = useState<Refusal>();
  const [failure, setFailure] = useState<Failure>();

  const attempt = async (refusal: Refusal, work: () => Promise<string>): Promise<void> => {
    setWorking(true);
    setRefused(undefined);
    setFailure(undefined);
    try {
      onSignedIn(await work());
    } catch (error) {
      setWorking(false);
      if (error instanceof ApiError && error.problem.status < 429) setRefused(refusal);
      else setFailure(toFailure(error));
    }
  };

  const useLink = (token: string): Promise<void> =>
    attempt('signin_bad_link', async () => {
      try {
        return (await spend(token)).token;
      } catch (error) {
        // Only a network failure leaves the token unspent.
        if (!(error instanceof ApiError)) spent.delete(token);
        throw error;
      }
    });

  useEffect(() => {
    if (linkToken !== undefined) void useLink(linkToken);
  }, [linkToken]);

  const submit = (): void => {
    const text = pasted.trim();
    if (text === '') return;
    const hash = text.indexOf('#');
    const route = hash >= 0 ? parseRoute(text.slice(hash)) : undefined;
    if (route?.name === 'signin' && route.token) void useLink(route.token);
    else void attempt('signin_bad_key', async () => guest.session(text).then(() => text));
  };

  return (
    <main id="content" className="signin">
      <div className="signin-card">
        <Logo size={48} />
        <h1>{t('signin_title')}</h1>
        <p className="signin-lead">{t('signin_lead')}</p>

        {working ? (
          <p className="signin-working" role="status">
            <span className="pulse" />
            {t('signin_working')}
          </p>
        ) : (
          <>
            {expired && !refused && !failure && (
              <p className="notice notice-compact" role="status">
                {t('signin_expired')}
              </p>
            )}
            {refused && (
              <p className="notice notice-error notice-compact" role="alert">
                <span className="notice-icon">
                  <Icon name="warn" />
                </span>
                {t(refused)}
              </p>
            )}
            {failure && (
              <FailureNotice
                compact
                failure={failure}
                {...(linkToken !== undefined ? { onRetry: () => void useLink(linkToken) } : {})}
              />
            )}
            <section className="signin-way">
              <span className="signin-icon">
                <Icon name="link" />
              </span>
              <div>
                <h2>{t('signin_link_title')}</h2>
                <p>{t('signin_link_body')}</p>
                <code className="signin-sample">http://…/#/signin?token=…</code>
              </div>
            </section>
            <section className="signin-way">
              <span className="signin-icon">
                <Icon name="key" />
              </span>
              <div>
                <h2>{t('signin_paste_title')}</h2>
                <form
                  onSubmit={(event) => {
                    event.preventDefault();
                    submit();
                  }}
                >
                  <label className="sr-only" htmlFor="key">
                    {t('signin_paste_label')}
                  </label>
                  <input
                    id="key"
                    className="input"
                    type="password"
                    autoComplete="current-password"
                    value={pasted}
                    placeholder={t('signin_paste_placeholder')}
                    onChange={(event) => setPasted(event.target.value)}
                  />
                  <button type="submit" className="btn btn-primary" disabled={pasted.trim() === ''}>
                    {t('signin_submit')}
                  </button>
                </form>
              </div>
            </section>
          </>
        )}
        <p className="signin-kept">
          <Icon name="shield" size={16} />
          {t('signin_kept')}
        </p>
      </div>
    </main>
  );
}
