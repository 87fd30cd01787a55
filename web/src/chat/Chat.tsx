import { useContext, useEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import type { Citations, SectionName } from '../api/types';
import { useI18n } from '../i18n';
import { Markdown } from '../markdown/render';
import { CiteChips } from '../plan/CiteChip';
import { SourcesContext } from '../plan/sources';
import { FailureNotice } from '../ui/FailureNotice';
import { Icon } from '../ui/Icon';
import type { Message } from './conversation';
import type { Chatting } from './useConversation';

/** The server's limit, in characters. */
const MESSAGE_LIMIT = 500;

interface Props {
  /** Undefined while there is no plan yet to talk about. */
  chatting: Chatting | undefined;
  onShowSection: (name: SectionName) => void;
  onClose?: () => void;
}

export function Chat({ chatting, onShowSection, onClose }: Props) {
  const { t } = useI18n();
  const [text, setText] = useState('');
  const scroller = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const conversation = chatting?.conversation;
  const pending = conversation?.pending;
  const empty = (conversation?.messages.length ?? 0) === 0 && !pending;

  // Follow the conversation, unless the teacher has scrolled up to read.
  const pinned = useRef(true);
  useEffect(() => {
    const box = scroller.current;
    if (box && pinned.current) box.scrollTop = box.scrollHeight;
  }, [conversation]);

  useEffect(() => {
    const area = input.current;
    if (!area) return;
    area.style.height = 'auto';
    // In a dialog that is not open yet, nothing has a height.
    if (area.scrollHeight > 0) area.style.height = `${Math.min(area.scrollHeight, 140)}px`;
  }, [text]);

  const send = (message: string): void => {
    const trimmed = message.trim();
    if (trimmed === '' || pending || !chatting) return;
    pinned.current = true;
    chatting.send(trimmed);
    setText('');
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    // While an input method composes, Enter chooses a word.
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send(text);
    }
  };

  return (
    <section className="chat" aria-label={t('chat_title')}>
      <header className="panel-head">
        <h2>{t('chat_title')}</h2>
        {onClose && (
          <button type="button" className="icon-btn panel-close" onClick={onClose} aria-label={t('close')}>
            <Icon name="close" />
          </button>
        )}
      </header>
      <div
        className="panel-scroll chat-scroll"
        ref={scroller}
        onScroll={(event) => {
          const box = event.currentTarget;
          pinned.current = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
        }}
      >
        {chatting?.loadFailed && <p className="empty">{t('chat_load_error')}</p>}
        {empty && (
          <div className="chat-empty">
            <p>{t(chatting ? 'chat_empty' : 'chat_later')}</p>
            {chatting && (
              <div className="chat-tips">
                {(['chat_tip_1', 'chat_tip_2', 'chat_tip_3'] as const).map((tip) => (
                  <button key={tip} type="button" className="chip chip-action" onClick={() => send(t(tip))}>
                    {t(tip)}
                  </button>
                ))}
              </div>
            )}
          </div>
        )}
        <ol className="messages" aria-live="polite" aria-busy={Boolean(pending)}>
          {conversation?.messages.map((message, i) => (
            <Bubble key={i} message={message} onShowSection={onShowSection} />
          ))}
          {pending && (
            <li className="message message-assistant">
              {pending.text && <MessageText text={pending.text} citations={pending.citations} cited={[]} />}
              {pending.changing ? (
                <p className="message-state">
                  <span className="pulse" />
                  {t('chat_changing', { section: t(`section_${pending.changing}`) })}
                </p>
              ) : (
                pending.text === '' && (
                  <p className="message-state">
                    <span className="pulse" />
                    {t('chat_thinking')}
                  </p>
                )
              )}
              {pending.changed && <Changed section={pending.changed} onShow={onShowSection} />}
            </li>
          )}
        </ol>
        {conversation?.failure && (
          <FailureNotice
            compact
            failure={conversation.failure.failure}
            onRetry={() => conversation.failure && send(conversation.failure.text)}
          />
        )}
      </div>
      <form
        className="composer"
        onSubmit={(event) => {
          event.preventDefault();
          send(text);
        }}
      >
        <textarea
          ref={input}
          rows={1}
          value={text}
          placeholder={t('chat_placeholder')}
          aria-label={t('chat_label')}
          disabled={!chatting}
          maxLength={MESSAGE_LIMIT}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={onKeyDown}
        />
        {pending ? (
          <button type="button" className="round-btn" onClick={chatting?.stop} aria-label={t('chat_stop')}>
            <Icon name="stop" size={16} />
          </button>
        ) : (
          <button type="submit" className="round-btn" disabled={text.trim() === '' || !chatting} aria-label={t('chat_send')}>
            <Icon name="send" size={16} />
          </button>
        )}
      </form>
    </section>
  );
}

function Bubble({ message, onShowSection }: { message: Message; onShowSection: (name: SectionName) => void }) {
  const { t } = useI18n();
  return (
    <li className={`message message-${message.role}`}>
      <span className="sr-only">{t(message.role === 'user' ? 'chat_you' : 'chat_assistant')}</span>
      <MessageText text={message.text} citations={message.citations} cited={message.cited} />
      {message.changed && <Changed section={message.changed} onShow={onShowSection} />}
    </li>
  );
}

/** A message's own sources come before the plan's of the same key. */
function MessageText({ text, citations, cited }: { text: string; citations: Citations; cited: string[] }) {
  const outer = useContext(SourcesContext);
  const sources = useMemo(() => ({ ...outer, citations: { ...outer.citations, ...citations } }), [outer, citations]);
  // Sources that the text does not mark itself are listed below it.
  const unmarked = cited.filter((key) => !text.includes(`[${key}]`));
  return (
    <SourcesContext.Provider value={sources}>
      <Markdown text={text} />
      <CiteChips ids={unmarked} />
    </SourcesContext.Provider>
  );
}

function Changed({ section, onShow }: { section: SectionName; onShow: (name: SectionName) => void }) {
  const { t } = useI18n();
  return (
    <p className="message-changed">
      <Icon name="check" size={14} />
      {t('chat_changed', { section: t(`section_${section}`) })}
      <button type="button" className="text-link" onClick={() => onShow(section)}>
        {t('chat_see')}
      </button>
    </p>
  );
}
