// GraphiQL, as somebody uses it.

import { until } from './world.mjs';

export const result = (page) => page.locator('.result-window .view-lines');

/** Text as the editor shows it: its spaces are no-break spaces. */
export const textOf = async (locator) => (await locator.innerText()).replaceAll('\u00a0', ' ');

export const run = (page) => page.getByRole('button', { name: /Execute query/ }).click();

/** Waits until the answer contains the text. */
export async function shows(page, text) {
  await until(async () => (await result(page).count()) && (await textOf(result(page))).includes(text));
}

/** Changes to a tab, and waits until GraphiQL knows its operation: it would send the name of the one before. */
export async function tab(page, name) {
  await page.getByRole('tab', { name, exact: true }).click();
  await until(() =>
    page.evaluate((name) => {
      const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem('graphiql:tabState'));
      return tabs[activeTabIndex].operationName === name;
    }, name),
  );
}

/** Replaces what is in `Variables` or `Headers`, as somebody who pastes it. */
export async function writeInto(page, tool, values) {
  await page.getByRole('button', { name: tool, exact: true }).click();
  const editor = page.locator('.graphiql-editor-tool .view-lines:visible').first();
  await editor.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(JSON.stringify(values));
  // What the editor has closed by itself.
  await page.keyboard.press('Control+Shift+End');
  await page.keyboard.press('Delete');
  // The editor wraps long lines.
  await until(async () => (await textOf(editor)).replaceAll(/\s/g, '') === JSON.stringify(values).replaceAll(/\s/g, ''));
}
