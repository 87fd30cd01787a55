import { useEffect, useRef, type ReactNode } from 'react';

interface Props {
  label: string;
  /** `bottom` slides up on small screens; `center` is a small dialog. */
  shape: 'bottom' | 'center';
  onClose: () => void;
  children: ReactNode;
}

/** A modal dialog. The browser keeps the focus inside, closes it on Escape and gives the focus back. */
export function Sheet({ label, shape, onClose, children }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return undefined;
    if (!dialog.open) dialog.showModal();
    document.documentElement.classList.add('has-modal');
    return () => {
      dialog.close();
      document.documentElement.classList.remove('has-modal');
    };
  }, []);
  return (
    <dialog
      ref={ref}
      className={`dialog dialog-${shape}`}
      aria-label={label}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        // A click on the dialog itself, not on what it holds, is a click on the backdrop.
        if (event.target === event.currentTarget) onClose();
      }}
    >
      <div className="dialog-body">{children}</div>
    </dialog>
  );
}
