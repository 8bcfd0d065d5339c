// What manifest.json says about the model, checked before anything else is fetched.

import { Trouble } from './words.js';

export const CYAN = [0, 255, 255];

/**
 * Check a manifest and fill in what may be left out.
 * @param {any} raw parsed manifest.json, as docs/demo.md describes it
 * @returns {any} the same, complete
 */
export function readManifest(raw) {
  const wrong = (what) => new Trouble('manifest', `manifest.json: ${what}`);
  if (raw?.format !== 1) throw wrong(`format ${raw?.format}, and this page reads format 1`);
  const { width, height } = raw.size ?? {};
  for (const side of [width, height]) {
    if (!Number.isInteger(side) || side < 1 || side > 8192) throw wrong(`size ${width}x${height}`);
  }
  if (!Array.isArray(raw.classes) || raw.classes.length < 2) throw wrong('fewer than two classes');
  const colourful = (c) => Array.isArray(c) && c.length === 3 && c.every((v) => Number.isInteger(v) && v >= 0 && v <= 255);
  for (const each of raw.classes) {
    if (typeof each.name !== 'string' || !colourful(each.colour)) throw wrong(`class ${JSON.stringify(each)}`);
  }
  const models = Object.entries(raw.models ?? {}).filter(([, file]) => file);
  if (!models.length) throw wrong('no model');
  for (const [precision, file] of models) {
    if (!['fp16', 'fp32'].includes(precision) || !plainPath(file.path)) throw wrong(`model ${precision}`);
  }
  for (const kind of ['wasm', 'webgpu']) {
    const files = raw.runtime?.[kind];
    if (!plainPath(files?.module) || !plainPath(files?.binary)) throw wrong(`runtime ${kind}`);
  }
  const { type, layout, channels = 3 } = raw.input ?? {};
  if (type !== 'uint8' || layout !== 'nhwc' || channels !== 3) throw wrong('an input that is not uint8 RGB, height x width x 3');
  if (typeof raw.outputs?.probabilities !== 'string') throw wrong('no name of the output of probabilities');
  return { ...raw, models: Object.fromEntries(models), threshold: raw.threshold ?? 0.5, classes: shownClasses(raw.classes) };
}

/** One class is always cyan; of several each has its own colour, and class 0 is the background unless another says so. */
function shownClasses(classes) {
  const marked = classes.some((each) => 'background' in each);
  return classes.map((each, number) => ({
    name: each.name,
    background: marked ? Boolean(each.background) : number === 0,
    colour: classes.length === 2 ? CYAN : each.colour,
  }));
}

/** A path inside the page's own folder: nothing is fetched from elsewhere, whoever wrote the manifest. */
export function plainPath(path) {
  return typeof path === 'string' && /^[\w][\w.\-/]*$/.test(path) && !path.includes('..') && !path.includes('//');
}

/** Size and checksum of a runtime file, where the manifest lists them. */
export function runtimeFile(manifest, path) {
  return manifest.runtime.files?.find((file) => file.path === path) ?? { path };
}

/** Address of a file, with its checksum in it, so that a changed file is never taken from an old cache. */
export function addressOf({ path, sha256 }) {
  return sha256 ? `${path}?h=${sha256.slice(0, 12)}` : path;
}
