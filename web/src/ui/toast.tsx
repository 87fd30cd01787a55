import { createContext, useCallback, useContext, useEffect, useState, type ReactNode } from 'react';
import { Icon } from './Icon';

const Context = createContext<(text: string) => void>(() => undefined);
export const useToast = (): ((text: string) => void) => useContext(Context);

export function ToastProvider({ children }: { children: ReactNode }) {
  const [toast, setToast] = useState<{ text: string; id: number }>();
  const show = useCallback((text: string) => setToast((last) => ({ text, id: (last?.id ?? 0) + 1 })), []);
  useEffect(() => {
    if (!toast) return undefined;
    const timer = window.setTimeout(() => setToast(undefined), 4000);
    return () => window.clearTimeout(timer);
  }, [toast]);
  return (
    <Context.Provider value={show}>
      {children}
      <div className="toast-region" role="status" aria-live="polite">
        {toast && (
          <div className="toast" key={toast.id}>
            <Icon name="check" size={16} />
            {toast.text}
          </div>
        )}
      </div>
    </Context.Provider>
  );
}
