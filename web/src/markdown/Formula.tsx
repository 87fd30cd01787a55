import katex from 'katex';
import { memo, useLayoutEffect, useRef } from 'react';

/** A typeset formula. KaTeX builds the nodes itself, so no HTML passes through a string. */
export const Formula = memo(function Formula({ tex, display }: { tex: string; display: boolean }) {
  const ref = useRef<HTMLSpanElement>(null);
  useLayoutEffect(() => {
    const span = ref.current;
    if (!span) return;
    span.classList.remove('formula-raw');
    try {
      katex.render(tex, span, {
        displayMode: display,
        throwOnError: true,
        // Chinese in a formula is not worth a warning; `\href` and its like stay off.
        strict: 'ignore',
        trust: false,
        maxSize: 20,
        maxExpand: 200,
        output: 'htmlAndMathml',
      });
    } catch {
      // What cannot be typeset is shown as it was written.
      span.textContent = tex;
      span.classList.add('formula-raw');
    }
  }, [tex, display]);
  return <span ref={ref} className={className(tex, display)} />;
});

/** A formula of so many characters of TeX may be wider than a phone: it then scrolls in itself. */
const LONG = 24;
export const isLong = (tex: string): boolean => tex.length >= LONG;

function className(tex: string, display: boolean): string {
  if (display) return 'formula formula-display';
  return isLong(tex) ? 'formula formula-long' : 'formula';
}
