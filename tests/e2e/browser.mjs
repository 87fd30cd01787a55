// The browser, and what must not happen in it on any page.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** Longest wait for something that needs no language model. */
export const SOON = 20_000;

/** Debian's and Ubuntu's browser, or the one that CHROMIUM names. */
function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const folders = (process.env.PATH ?? '').split(delimiter);
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    for (const path of folders.map((folder) => join(folder, name))) {
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // The next one.
      }
    }
  }
  throw new Error('no browser: install chromium (Debian: apt-get install chromium) or set CHROMIUM to its path');
}

/** A headless browser. The sandbox is off: it needs kernel features that containers do not grant. */
export const launch = () =>
  chromium.launch({ executablePath: executable(), headless: true, chromiumSandbox: false, args: FLAGS, timeout: 60_000 });

/**
 * A page that keeps account of everything that went wrong in it.
 *
 * @param {import('playwright-core').Browser} browser
 * @param {string} url the only server that the page may speak to
 * @param {{ width: number, height: number, touch?: boolean, storageState?: object }} screen `storageState`: what another
 *   context remembers, the session among it
 */
export async function openPage(browser, url, { width, height, touch = false, storageState }) {
  const context = await browser.newContext({
    viewport: { width, height },
    hasTouch: touch,
    storageState,
    locale: 'zh-CN',
    // Pulsing dots cost a processor without graphics card dearly.
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON);
  const troubles = [];
  page.on('console', (message) => {
    if (message.type() === 'error') troubles.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => troubles.push(`uncaught: ${error.stack ?? error.message}`));
  context.on('request', (request) => {
    const target = new URL(request.url());
    if (target.protocol.startsWith('http') && target.origin !== url) troubles.push(`request to another host: ${request.url()}`);
  });
  context.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText;
    // The page itself lets go of what it no longer needs: suggestions for a word that has changed, a list that was left.
    if (reason !== 'net::ERR_ABORTED') troubles.push(`failed: ${request.method()} ${request.url()} ${reason}`);
  });
  context.on('response', (response) => {
    if (response.status() >= 400) troubles.push(`status ${response.status()}: ${response.request().method()} ${response.url()}`);
  });
  return { page, troubles };
}

/** The elements that stick out of the window to the right, widest first; a page that scrolls sideways has some. */
export function sticksOut(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width && document.body.scrollWidth <= width) return [];
    // What scrolls or is cut inside an ancestor does not widen the page.
    const contained = (element) => {
      for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) {
        if (getComputedStyle(at).overflowX !== 'visible') return true;
      }
      return false;
    };
    return [...document.querySelectorAll('body *')]
      .map((element) => ({ element, right: element.getBoundingClientRect().right }))
      .filter(({ element, right }) => right > width + 1 && !contained(element))
      .sort((a, b) => b.right - a.right)
      .slice(0, 5)
      .map(({ element, right }) => `<${element.tagName.toLowerCase()} class="${element.getAttribute('class') ?? ''}"> to ${Math.round(right)} of ${width} px`);
  });
}
