// Making elements. Whatever comes from outside is set as text, never as markup.

/**
 * An element with attributes and children; a string is text. An attribute that is null or false is left out, and a
 * function listens, e.g. `onclick`.
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

/** Sets the text where it differs, and answers whether it did: nothing is redrawn or read out again for nothing. */
export function setText(target, text) {
  const differs = target.textContent !== text;
  if (differs) target.textContent = text;
  return differs;
}

/** Shows a text, or hides the element when there is none. */
export function show(target, text) {
  setText(target, text ?? '');
  target.hidden = !text;
}

export const byId = (id) => document.getElementById(id);
