// Fetch a file of the page and make sure that it is what the manifest promises.

import { addressOf } from './manifest.js';
import { Trouble } from './words.js';

/**
 * What is wrong with bytes that should be a model or a WebAssembly binary.
 * @param {Uint8Array} bytes
 * @param {{bytes?: number}} promised
 * @returns {'' | 'pointer' | 'html' | 'wrong'}
 */
export function bytesTrouble(bytes, promised) {
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, 200)).trimStart().toLowerCase();
  if (start.startsWith('version https://git-lfs')) return 'pointer';
  if (/^<(!doctype|html|head|\?xml|!--)/.test(start)) return 'html';
  if (promised.bytes !== undefined && bytes.length !== promised.bytes) return 'wrong';
  return '';
}

/** SHA-256 in hex, or '' on pages where browsers offer none (plain http). */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return '';
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Fetch a file whole.
 * @param {{path: string, bytes?: number, sha256?: string}} file
 * @param {'model' | 'runtime'} kind whose trouble it is
 * @param {(share: number) => void} progress called with 0..1
 * @returns {Promise<Uint8Array>}
 */
export async function download(file, kind, progress = () => {}) {
  const bytes = await read(file, kind, progress, 'default');
  const trouble = await troubleWith(bytes, file);
  if (!trouble) return bytes;
  // A cache may hold an answer from when the file was not there yet: ask the server itself once.
  const again = await read(file, kind, progress, 'reload');
  const still = await troubleWith(again, file);
  if (!still) return again;
  throw new Trouble(kind === 'model' ? `model-${still}` : 'runtime-missing', `${file.path}: ${still}`);
}

async function troubleWith(bytes, file) {
  const trouble = bytesTrouble(bytes, file);
  if (trouble || !file.sha256) return trouble;
  const digest = await sha256(bytes);
  return digest && digest !== file.sha256 ? 'wrong' : '';
}

async function read(file, kind, progress, cache) {
  let response;
  try {
    response = await fetch(addressOf(file), { cache });
  } catch (error) {
    throw new Trouble('network', `${file.path}: ${error.message}`);
  }
  if (!response.ok) throw new Trouble(`${kind}-missing`, `${file.path}: the server answers ${response.status}`);
  const parts = [];
  let length = 0;
  try {
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      length += part.value.length;
      if (file.bytes) progress(Math.min(1, length / file.bytes));
    }
  } catch (error) {
    throw new Trouble('network', `${file.path}: ${error.message}`);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
