// Everything the visitor reads: state, sentences, numbers, legend. Writes to the document, decides nothing.

import { rungName } from './ladder.js';
import { TROUBLES, Trouble, bytesInWords } from './words.js';

/** Elements of the page by id. @type {Record<string, any>} */
export const page = new Proxy({}, { get: (_, id) => document.getElementById(id) });

const facts = document.body.dataset;

/**
 * @param {'idle' | 'permission' | 'loading' | 'ready' | 'running' | 'error'} state
 * @param {string} message one sentence
 */
export function showState(state, message) {
  facts.state = state;
  say(message);
  page.start.textContent = state === 'running' ? 'Stop' : 'Start';
  if (state !== 'error') page.retry.hidden = true;
  if (state !== 'loading') page.progress.removeAttribute('value');
}

/** @param {'' | 'camera' | 'video' | 'picture'} kind of source on the canvas */
export function showSource(kind) {
  if (facts.shown === kind) return;
  facts.shown = kind;
  page.turn.disabled = page.snapshot.disabled = !kind;
}

/** The status line. */
export function say(message) {
  if (facts.message === message) return;
  facts.message = message;
  page.status.textContent = message;
}

/** @param {string} what is being fetched; '' for nothing more @param {number} share 0..1 @param {number} [bytes] of the whole */
export function showProgress(what, share, bytes = 0) {
  page.progress.value = share;
  say(what ? `Loading ${what}${bytes ? `, ${bytesInWords(bytes)}` : ''} …` : 'Trying the network on a known picture …');
}

/**
 * Something went wrong: say what, and the way on.
 * @param {Trouble} trouble
 */
export function showTrouble(trouble) {
  const [what, way] = TROUBLES[trouble.code] ?? TROUBLES.unable;
  showState('error', `${what} ${way}`);
  facts.trouble = trouble.code;
  page.what.textContent = what;
  page.way.textContent = way;
  page.detail.textContent = trouble.detail;
  page.more.hidden = !trouble.detail;
  page.retry.hidden = false;
}

/** A sentence for a page that works, but not by camera. */
export function cameraNotice(code) {
  return TROUBLES[code].join(' ');
}

/** Title, licence and legend of the model. */
export function describe(manifest) {
  page.title.textContent = document.title = manifest.title || 'Segmentation, live';
  page.licence.textContent = manifest.licence ? `Model licence: ${manifest.licence}` : '';
  const several = manifest.classes.length > 2;
  page['threshold-name'].textContent = several ? 'Least certainty' : 'Threshold';
  page.threshold.min = several ? 0 : 0.01;
  page.threshold.value = several ? 0 : manifest.threshold;
  page.legend.replaceChildren(
    ...manifest.classes.map((each) => {
      const item = document.createElement('li');
      const chip = document.createElement('span');
      const share = document.createElement('span');
      chip.className = 'chip';
      share.className = 'share';
      chip.style.setProperty('--colour', `rgb(${each.colour.join(' ')})`);
      item.hidden = Boolean(each.background);
      item.append(chip, each.name, share);
      return item;
    }),
  );
}

/** @param {number[]} shares of the picture, 0..1, for each class */
export function showShares(shares, manifest) {
  const words = [];
  for (const [number, share] of shares.entries()) {
    const percent = `${share && share < 0.01 ? '<1' : Math.round(100 * share)} %`;
    page.legend.children[number].lastChild.textContent = percent;
    if (share && !manifest.classes[number].background) words.push(`${manifest.classes[number].name} ${percent}`);
  }
  page.canvas.setAttribute('aria-label', words.length ? `Picture with mask: ${words.join(', ')}` : 'Picture; nothing was found in it');
}

/** Which rung runs, and why none above it. */
export function showRung(rung, tried, isolated) {
  facts.backend = rung?.backend ?? '';
  facts.precision = rung?.precision ?? '';
  facts.threads = rung?.threads ?? '';
  page.rung.textContent = rung ? rungName(rung) : '–';
  const lines = tried.map(({ name, why }) => `${name}: ${why}`);
  if (rung) lines.push(`${rungName(rung)}: runs, and answered a known picture rightly`);
  if (rung?.backend === 'wasm' && !isolated) {
    lines.push('More than 1 thread needs a page that is isolated from others by its server’s headers');
  }
  page.tried.replaceChildren(
    ...lines.map((line) => Object.assign(document.createElement('li'), { textContent: line })),
  );
}

/** In one sentence, for the status line. */
export function rungSentence(rung, tried) {
  const reasons = [...new Set(tried.map(({ why }) => why))];
  return `Running on ${rungName(rung)}${reasons.length ? ` (${reasons.join('; ')})` : ''}.`;
}

/** @param {{fps: number, milliseconds: number, dropped: number, size: {width: number, height: number}, kind: string}} now */
export function showNumbers({ fps, milliseconds, dropped, size, kind }) {
  facts.fps = fps.toFixed(1);
  page.fps.textContent = fps ? fps.toFixed(fps < 10 ? 1 : 0) : '–';
  page.milliseconds.textContent = milliseconds ? `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms` : '–';
  page.dropped.textContent = String(dropped);
  page.delivered.textContent = size.width ? `${kind}, ${size.width} × ${size.height}` : '–';
}
