// Which way of running the network to try first, and what to fall back on: decisions only, no browser in here.

/**
 * @typedef {{backend: 'webgpu' | 'wasm', precision: 'fp16' | 'fp32', threads: number, forced: boolean}} Rung
 * `forced` rungs were asked for in the address and are not left for being slow.
 */

const MOST_THREADS = 4; // more bring nothing to networks of this size
export const FAST_ENOUGH = 40; // ms; a GPU this fast needs no race
export const MOST_FAIR = 1.1; // a GPU may be this much slower than WebAssembly: it leaves the processor to the page

/** A rung in words. */
export function rungName({ backend, precision, threads }) {
  const bits = precision.toUpperCase();
  if (backend === 'webgpu') return `WebGPU ${bits}`;
  return `WebAssembly ${bits}, ${threads === 1 ? '1 thread' : `${threads} threads`}`;
}

/**
 * Rungs to try, best first, and why the ones above them are left out.
 * @param {object} facts
 * @param {null | {f16: boolean, fallback: boolean}} facts.gpu the adapter found
 * @param {boolean} facts.isolated whether threads may share memory
 * @param {number} facts.cores
 * @param {boolean} facts.ios WebKit on a phone or tablet
 * @param {boolean} facts.crashed whether the last visit ended while WebGPU ran
 * @param {{ep?: string, precision?: string, threads?: number}} facts.override from the address
 * @param {string[]} facts.models precisions there are files for
 * @returns {{rungs: Rung[], skipped: {name: string, why: string}[]}}
 */
export function planRungs({ gpu, isolated, cores, ios, crashed, override = {}, models }) {
  const most = isolated ? Math.max(1, Math.min(MOST_THREADS, cores || 1)) : 1;
  const threads = Math.max(1, Math.min(override.threads || most, isolated ? 64 : 1));
  const asked = (rung) =>
    (override.ep || override.precision) &&
    (!override.ep || override.ep === rung.backend) &&
    (!override.precision || override.precision === rung.precision);
  const rungs = [];
  const skipped = [];
  // FP16 first on WebAssembly too: as fast there, and half the download.
  for (const [backend, precision] of [['webgpu', 'fp16'], ['webgpu', 'fp32'], ['wasm', 'fp16'], ['wasm', 'fp32']]) {
    const rung = { backend, precision, threads: backend === 'wasm' ? threads : 1, forced: false };
    if (!models.includes(precision)) continue;
    const why = backend === 'webgpu' ? reasonAgainst(precision, { gpu, ios, crashed, override }) : '';
    if (asked(rung) && !(backend === 'webgpu' && !gpu)) rungs.push({ ...rung, forced: true });
    else if (why) skipped.push({ name: rungName(rung), why });
    else rungs.push(rung);
  }
  const order = (rung) => (rung.forced ? 0 : 1);
  return { rungs: rungs.sort((a, b) => order(a) - order(b)), skipped };
}

/** Why a WebGPU rung is not tried, or ''. */
function reasonAgainst(precision, { gpu, ios, crashed, override }) {
  if (override.ep === 'wasm') return 'the address asks for WebAssembly';
  if (!gpu) return 'this browser offers no WebGPU adapter';
  if (override.ep === 'webgpu') return precision === 'fp16' && !gpu.f16 ? 'this GPU has no 16-bit shaders' : '';
  if (gpu.fallback) return 'the adapter is software, not a GPU';
  if (ios) return 'WebGPU of this system ends long runs; add ?ep=webgpu to try it';
  if (crashed) return 'the last visit ended while WebGPU ran; add ?ep=webgpu to try again';
  if (precision === 'fp16' && !gpu.f16) return 'this GPU has no 16-bit shaders';
  return '';
}

/**
 * What is left to try.
 * @param {Rung[]} rungs below the one that failed
 * @param {string} code of its trouble
 */
export function rungsAfter(rungs, code) {
  // A GPU that is slow or gone will be so in another precision too.
  return code === 'slow' || code === 'lost' ? rungs.filter((rung) => rung.backend !== 'webgpu') : rungs;
}

/** Middle one of some times. */
export function median(times) {
  return [...times].sort((a, b) => a - b)[times.length >> 1];
}

/**
 * Whether WebGPU keeps its place.
 * @param {number} gpu ms per picture
 * @param {number} wasm ms per picture
 * @returns {string} why not, or ''
 */
export function raceLost(gpu, wasm) {
  if (gpu <= FAST_ENOUGH || gpu <= MOST_FAIR * wasm) return '';
  return `it took ${Math.round(gpu)} ms for a picture, WebAssembly ${Math.round(wasm)} ms`;
}
