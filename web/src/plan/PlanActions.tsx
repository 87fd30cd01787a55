import { useEffect, useRef, useState } from 'react';
import { toFailure, type Failure } from '../api/client';
import type { LessonPlan } from '../api/types';
import { useApi } from '../app-context';
import { useI18n } from '../i18n';
import { FailureNotice } from '../ui/FailureNotice';
import { Icon, type IconName } from '../ui/Icon';
import { Sheet } from '../ui/Sheet';
import { useToast } from '../ui/toast';

/** What can be done with a whole plan. */
export function PlanActions({ plan, onDeleted }: { plan: LessonPlan; onDeleted: () => void }) {
  const api = useApi();
  const { t } = useI18n();
  const toast = useToast();
  const [menu, setMenu] = useState(false);
  const [asking, setAsking] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!menu) return undefined;
    box.current?.querySelector<HTMLElement>('[role=menuitem]')?.focus();
    const outside = (event: PointerEvent): void => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) setMenu(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [menu]);

  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setMenu(false);
    setFailure(undefined);
    try {
      await work();
    } catch (error) {
      setFailure(toFailure(error));
    }
  };

  const copy = (): Promise<void> =>
    attempt(async () => {
      const blob = await api.exportPlan(plan.id, 'md');
      await writeClipboard(await blob.text());
      toast(t('plan_copied'));
    });

  const download = (format: 'md' | 'json'): Promise<void> =>
    attempt(async () => {
      const blob = await api.exportPlan(plan.id, format);
      const url = URL.createObjectURL(blob);
      const link = document.createElement('a');
      link.href = url;
      link.download = `${plan.topic.replace(/[\\/:*?"<>|]/g, ' ')}.${format}`;
      link.click();
      // The browser has taken the data by then.
      window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
    });

  const remove = (): Promise<void> =>
    attempt(async () => {
      await api.deletePlan(plan.id);
      toast(t('plan_deleted'));
      onDeleted();
    });

  const item = (icon: IconName, label: string, act: () => void, danger = false) => (
    <button type="button" role="menuitem" className={danger ? 'menu-item danger' : 'menu-item'} onClick={act}>
      <Icon name={icon} size={16} />
      {label}
    </button>
  );

  return (
    <div className="plan-actions">
      <button type="button" className="btn btn-small btn-quiet" onClick={() => void copy()}>
        <Icon name="copy" size={16} />
        <span className="wide-only">{t('plan_copy_md')}</span>
      </button>
      <button type="button" className="btn btn-small btn-quiet" onClick={() => window.print()}>
        <Icon name="print" size={16} />
        <span className="wide-only">{t('plan_print')}</span>
      </button>
      <div
        className="menu-box"
        ref={box}
        onKeyDown={(event) => {
          if (event.key === 'Escape' && menu) {
            setMenu(false);
            button.current?.focus();
          }
          if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
          event.preventDefault();
          const items = [...(box.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? [])];
          const at = items.findIndex((element) => element === document.activeElement);
          items[(at + (event.key === 'ArrowDown' ? 1 : items.length - 1)) % items.length]?.focus();
        }}
      >
        <button
          type="button"
          ref={button}
          className="icon-btn"
          aria-haspopup="menu"
          aria-expanded={menu}
          aria-label={t('plan_actions')}
          onClick={() => setMenu((open) => !open)}
        >
          <Icon name="more" />
        </button>
        {menu && (
          <div className="menu" role="menu">
            {item('download', t('plan_download_md'), () => void download('md'))}
            {item('download', t('plan_download_json'), () => void download('json'))}
            <hr />
            {item('trash', t('plan_delete'), () => {
              setMenu(false);
              setFailure(undefined);
              setAsking(true);
            }, true)}
          </div>
        )}
      </div>
      {asking && (
        <Sheet label={t('plan_delete_title')} shape="center" onClose={() => setAsking(false)}>
          <div className="confirm">
            <h2>{t('plan_delete_title')}</h2>
            <p>{t('plan_delete_body', { topic: plan.topic })}</p>
            {failure && <FailureNotice compact failure={failure} />}
            <div className="confirm-actions">
              <button type="button" className="btn btn-quiet" onClick={() => setAsking(false)}>
                {t('cancel')}
              </button>
              <button type="button" className="btn btn-danger" onClick={() => void remove()}>
                {t('plan_delete_confirm')}
              </button>
            </div>
          </div>
        </Sheet>
      )}
      {failure && !asking && <FailureNotice compact failure={failure} />}
    </div>
  );
}

/** The clipboard interface needs HTTPS; schools often serve plain HTTP inside their network. */
async function writeClipboard(text: string): Promise<void> {
  if (window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  area.style.opacity = '0';
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  if (!copied) throw new Error('the browser refused to copy');
}
