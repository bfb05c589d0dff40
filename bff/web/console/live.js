// The stream of changes. It is open while the page is seen, and comes back by itself.

import { changesUrl, readChange } from './api.js';

const FIRST_RETRY = 1000;
const LONGEST_RETRY = 15_000;

/**
 * Calls `changed(order)` for each change, `opened()` each time the stream begins (what happened before it is to be
 * read), and `state('live' | 'connecting' | 'down' | 'paused')`.
 */
export function listen({ changed, opened, state, failed }) {
  let source = null;
  let retry = null;
  let wait = FIRST_RETRY;

  const open = () => {
    close();
    state('connecting');
    source = new EventSource(changesUrl);
    source.onopen = () => {
      wait = FIRST_RETRY;
      state('live');
      opened();
    };
    source.addEventListener('next', ({ data }) => {
      try {
        changed(readChange(data));
      } catch (error) {
        failed(error);
      }
    });
    // The browser comes back by itself after a broken connection, but not after an answer that is no stream. The end
    // that the server announces is followed by the end of the connection, which is one more of these.
    source.onerror = () => {
      state('down');
      if (source.readyState !== EventSource.CLOSED) return;
      retry = setTimeout(open, wait);
      wait = Math.min(wait * 2, LONGEST_RETRY);
    };
  };

  const close = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };

  // Browsers keep few connections to a host: a page that nobody sees must not hold one.
  const follow = () => {
    if (document.hidden) {
      close();
      state('paused');
    } else if (!source) {
      open();
    }
  };
  document.addEventListener('visibilitychange', follow);
  follow();
}
