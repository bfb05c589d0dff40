// The stream of changes. It is open while the page is seen, and comes back by itself.

import { TokenError, changes } from './api.js';

const FIRST_RETRY = 1000;
const LONGEST_RETRY = 15_000;

/**
 * Calls `changed(order)` for each change, `opened()` each time the stream begins (what happened before it is to be
 * read), `state('live' | 'connecting' | 'down' | 'refused' | 'paused')`, and `refused(error)` when it needs a token: then it
 * waits until the function that is returned is called.
 */
export function listen({ changed, opened, state, refused }) {
  let current = null;
  let retry = null;
  let wait = FIRST_RETRY;

  const open = async () => {
    close();
    state('connecting');
    const stream = (current = new AbortController());
    const begun = () => {
      wait = FIRST_RETRY;
      state('live');
      opened();
    };
    let failure;
    try {
      for await (const order of changes({ opened: begun, signal: stream.signal })) changed(order);
    } catch (error) {
      failure = error;
    }
    // It was closed here, and perhaps there is another one already.
    if (stream !== current) return;
    if (failure instanceof TokenError) {
      state('refused');
      refused(failure);
      return;
    }
    state('down');
    retry = setTimeout(open, wait);
    wait = Math.min(wait * 2, LONGEST_RETRY);
  };

  const close = () => {
    clearTimeout(retry);
    current?.abort();
    current = null;
  };

  // Browsers keep few connections to a host: a page that nobody sees must not hold one.
  const follow = () => {
    if (document.hidden) {
      close();
      state('paused');
    } else if (!current) {
      open();
    }
  };
  document.addEventListener('visibilitychange', follow);
  follow();
  return open;
}
