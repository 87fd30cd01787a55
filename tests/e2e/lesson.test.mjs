// A teacher's way through the page: sign in, say a sentence, watch the plan arrive, read it, follow a source, ask about it.
// One server, one plan; the stations build on each other, so the first one that fails ends the walk.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, sticksOut } from './browser.mjs';
import { startServer } from './server.mjs';

const BINARY = resolve(process.env.ZHUJIAO ?? 'target/release/zhujiao');
const OUT = resolve(process.env.ZHUJIAO_E2E_OUT ?? 'target/e2e');
const GENERATOR = process.env.ZHUJIAO_E2E_MODEL ?? 'qwen2.5-coder-0.5b';
/** 一元一次方程 and the unit that it rests on. */
const UNITS = ['unit-algebraic-expressions', 'unit-linear-equations'];
const SERVER_LOG = join(OUT, 'server.log');

/** Deadlines leave two idle cores several times what they need; a busy machine may ask for more patience. */
const MINUTE = 60_000 * Number(process.env.ZHUJIAO_E2E_PATIENCE ?? 1);
const WISH = '帮我备一节七年级一元一次方程的课, 45 分钟';
const QUESTION = '移项为什么要变号？';
const SECTIONS = {
  'zh-CN': '教学目标 课标依据 学情与先备知识 教学重点 教学难点 易错点 教学过程 板书设计 分层作业 学习评价'.split(' '),
  en: [
    ...['Objectives', 'Standards', 'Prior knowledge', 'Key points', 'Difficulties'],
    ...['Misconceptions', 'Procedure', 'Board plan', 'Homework', 'Assessment'],
  ],
};
const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844, touch: true };

describe('a lesson from one sentence', () => {
  let server;
  let browser;
  /** The window that the walk is in. */
  let view;
  let broken = false;

  before(async () => {
    await mkdir(OUT, { recursive: true });
    server = await startServer({ binary: BINARY, generator: GENERATOR, units: UNITS, logFile: SERVER_LOG });
    [browser] = await Promise.all([launch(), server.ready(2 * MINUTE)]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const shot = async (name) => {
    const path = join(OUT, `${name}.png`);
    await view.page.screenshot({ path });
    return path;
  };
  const tidy = async (where) => {
    assert.deepEqual(await sticksOut(view.page), [], `${where}: wider than the window`);
    assert.deepEqual(view.troubles, [], `${where}: trouble in the page`);
  };

  /** One station. Whatever fails in it, or takes longer than `within`, is reported with a picture and the server's log. */
  const station = (name, within, work) =>
    it(name, async (t) => {
      if (broken) return t.skip('the walk ended at an earlier station');
      const clock = new AbortController();
      const late = pause(within, undefined, { signal: clock.signal }).then(() => {
        throw new Error(`not done within ${within / 1000} s`);
      });
      try {
        await Promise.race([work(), late]);
      } catch (error) {
        broken = true;
        throw await report(name, error);
      } finally {
        clock.abort();
        late.catch(() => undefined);
      }
    });

  const report = async (name, error) => {
    const picture = view ? await shot(`failed: ${name}`.replace(/\W+/g, '-')).catch((reason) => `none (${reason.message})`) : 'none';
    const log = (await readFile(SERVER_LOG, 'utf8').catch(() => '')).split('\n').slice(-25).join('\n');
    const troubles = view?.troubles.join('\n  ') || 'none';
    const text = `${error.stack ?? error}\n\nscreenshot: ${picture}\ntrouble in the page: ${troubles}\nserver's log: ${SERVER_LOG}, its end:\n${log}`;
    return new Error(text);
  };

  station('the printed link signs in and leaves no token behind', MINUTE, async () => {
    view = await openPage(browser, server.url, DESK);
    const { page } = view;
    await page.goto(server.signInLink);
    await page.getByRole('heading', { name: '今天备哪一节课？' }).waitFor();
    assert.ok(!page.url().includes('token'), `the spent token is still in the address: ${page.url()}`);
    await page.getByText('还没有教案').waitFor();
    await shot('start-desk');
    await tidy('start page');
  });

  station('a sentence fills the form', MINUTE, async () => {
    const { page } = view;
    await page.getByLabel('用一句话说说这节课').fill(WISH);
    assert.equal(await page.getByLabel('课题').inputValue(), '一元一次方程');
    assert.equal(await page.getByLabel('年级').inputValue(), '7');
    assert.equal(await page.getByLabel('课时（分钟）').inputValue(), '45');
    await shot('form-desk');
    await tidy('form');
  });

  station('sections arrive one after the other', 8 * MINUTE, async () => {
    const { page } = view;
    await page.getByRole('button', { name: '开始备课' }).click();
    const progress = page.getByRole('progressbar');
    await progress.waitFor();
    const seen = [];
    let looks = 0;
    while (!/#\/plans\//.test(page.url())) {
      const failure = page.locator('.notice-error');
      if (await failure.count()) assert.fail(`the page says: ${await failure.first().innerText()}`);
      const now = await progress.getAttribute('aria-valuenow', { timeout: 1000 }).catch(() => null);
      if (now !== null && Number(now) !== seen.at(-1)) {
        seen.push(Number(now));
        // While the first and a later section are being written.
        if (++looks === 1 || Number(now) === 6) await shot(`writing-desk-${now}`);
        await tidy(`while writing, ${now} sections done`);
      }
      await pause(200);
    }
    assert.ok(seen.length >= 3, `sections done, as the page told: ${seen}`);
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
  });

  station('the finished plan is whole', MINUTE, async () => {
    const { page } = view;
    const sheet = page.locator('article.sheet');
    await page.getByText('AI 生成').waitFor();
    assert.deepEqual(await sheet.locator('.section-head h2').allInnerTexts(), SECTIONS['zh-CN']);
    assert.equal(await sheet.locator('.section .empty, .section .skeleton, .section .draft').count(), 0, 'a section is empty');
    for (const body of await sheet.locator('.section-body').allInnerTexts()) assert.ok(body.trim().length >= 4, body);

    const minutes = (await sheet.locator('.step-time strong').allInnerTexts()).map((text) => Number.parseInt(text, 10));
    assert.ok(minutes.length >= 4, `steps of the procedure: ${minutes}`);
    assert.equal(minutes.reduce((sum, step) => sum + step, 0), 45, `minutes of the steps: ${minutes}`);
    assert.match(await sheet.locator('.plan-kicker').innerText(), /45 分钟/);

    await sheet.getByRole('button', { name: '全部显示答案' }).click();
    assert.ok((await sheet.locator('.katex').count()) >= 10, 'formulas are typeset');
    assert.equal(await sheet.locator('.formula-raw').count(), 0, 'a formula cannot be typeset');
    const plain = await sheet.evaluate((element) => {
      const copy = element.cloneNode(true);
      copy.querySelectorAll('.katex').forEach((formula) => formula.remove());
      return copy.textContent;
    });
    assert.doesNotMatch(plain, /\$|\\[a-z]{2,}|\*\*|\bundefined\b|\bNaN\b|\[object/, 'markup that nobody rendered');
    await page.evaluate(() => window.scrollTo(0, 0));
    await shot('plan-desk');
    await page.screenshot({ path: join(OUT, 'plan-desk-whole.png'), fullPage: true });
    await tidy('plan');
  });

  station('a citation opens its concept', MINUTE, async () => {
    const { page } = view;
    await page.locator('#section-key_points .cite-concept').first().click();
    const source = page.getByRole('region', { name: '出处' });
    await source.getByText('依据的原文').waitFor();
    await source.getByRole('heading', { name: '定义' }).waitFor();
    await shot('source-desk');
    await tidy('source');
    await source.getByRole('button', { name: '关闭' }).click();
    await source.waitFor({ state: 'hidden' });
  });

  station('a question is answered with citations', 2 * MINUTE, async () => {
    const { page } = view;
    const chat = page.getByRole('region', { name: '和助教商量' });
    await chat.getByLabel('给助教的话').fill(QUESTION);
    await chat.getByRole('button', { name: '发送' }).click();
    await chat.locator('.messages[aria-busy=false] .message-assistant').waitFor({ timeout: 2 * MINUTE });
    const answer = chat.locator('.message-assistant').last();
    assert.ok((await answer.innerText()).length >= 10, await answer.innerText());
    assert.equal(await chat.locator('.notice-error').count(), 0, 'the chat shows a failure');
    await answer.locator('.cite').first().click();
    await page.getByRole('region', { name: '出处' }).getByRole('button', { name: '关闭' }).click();
    await shot('chat-desk');
    await tidy('chat');
  });

  station('the page speaks English when asked', MINUTE, async () => {
    const { page } = view;
    await page.getByRole('button', { name: 'English' }).click();
    assert.equal(await page.locator('html').getAttribute('lang'), 'en');
    assert.deepEqual(await page.locator('.section-head h2').allInnerTexts(), SECTIONS.en);
    await shot('plan-desk-en');
    await tidy('plan, English');
    await page.getByRole('link', { name: 'Home' }).click();
    await page.locator('.recent-card').getByText('一元一次方程').waitFor();
    await shot('start-desk-en');
    await tidy('start page, English');
    await page.getByRole('button', { name: '中文' }).click();
    assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN');
  });

  station('plan, source and chat fit a phone', 2 * MINUTE, async () => {
    const { page: desk } = view;
    const storageState = await desk.context().storageState();
    view = await openPage(browser, server.url, { ...PHONE, storageState });
    const { page } = view;
    await page.goto(`${server.url}/`);
    await page.locator('.recent-card').first().waitFor();
    await shot('start-phone');
    await tidy('start page, phone');
    await page.locator('.recent-card').first().click();
    await page.locator('.section-head h2').first().waitFor();
    assert.deepEqual(await page.locator('.section-head h2').allInnerTexts(), SECTIONS['zh-CN']);
    await page.getByRole('button', { name: '全部显示答案' }).click();
    await shot('plan-phone');
    await page.screenshot({ path: join(OUT, 'plan-phone-whole.png'), fullPage: true });
    await tidy('plan, phone');

    await page.locator('#section-key_points .cite-concept').first().click();
    const source = page.getByRole('dialog', { name: '出处' });
    await source.getByRole('heading', { name: '定义' }).waitFor();
    await shot('source-phone');
    await tidy('source, phone');
    await source.getByRole('button', { name: '关闭' }).click();

    await page.getByRole('button', { name: '和助教商量这份教案' }).click();
    const chat = page.getByRole('dialog', { name: '和助教商量' });
    // The conversation was kept.
    await chat.getByText(QUESTION).waitFor();
    assert.ok(await chat.locator('.message-assistant .cite').count());
    await shot('chat-phone');
    await tidy('chat, phone');
    await chat.getByRole('button', { name: '关闭' }).click();

    await page.getByRole('button', { name: 'English' }).click();
    assert.deepEqual(await page.locator('.section-head h2').allInnerTexts(), SECTIONS.en);
    await shot('plan-phone-en');
    await tidy('plan, phone, English');
  });
});
