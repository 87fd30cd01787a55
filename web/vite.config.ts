import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';
import type { Plugin } from 'vite';

/**
 * KaTeX lists every font in three formats. Every browser that we support reads WOFF2, and `dist` is embedded in the
 * server's binary, so the other two would only make it larger.
 */
function katexWoff2Only(): Plugin {
  return {
    name: 'katex-woff2-only',
    enforce: 'pre',
    transform(code, id) {
      if (!/katex(\.min)?\.css$/.test(id.split('?')[0] ?? '')) return null;
      return { code: code.replace(/,\s*url\([^)]+\.(?:woff|ttf)\)\s*format\(["'](?:woff|truetype)["']\)/g, ''), map: null };
    },
  };
}

export default defineConfig({
  plugins: [katexWoff2Only(), react()],
  // Relative, so that the page also works below a path of a school's portal.
  base: './',
  build: {
    // Classroom machines run old Chromium shells (360, Sogou) and school-bought iPads; <dialog> sets the lower bound.
    target: ['chrome87', 'edge88', 'firefox98', 'safari15.4'],
    // No data: URLs, so that a strict content security policy can stay strict.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:8080', '/readyz': 'http://127.0.0.1:8080' } },
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
});
