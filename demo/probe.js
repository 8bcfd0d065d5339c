// What this browser can do, asked before anything large is fetched.

// The smallest module that uses a 128-bit instruction.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const PATIENCE = 5000; // ms; some drivers never answer

/** Whether WebAssembly runs 128-bit instructions, which every build of the runtime needs. */
export function hasSimd() {
  return typeof WebAssembly === 'object' && WebAssembly.validate(new Uint8Array(SIMD));
}

/** The GPU a network would run on, or null. @returns {Promise<null | {f16: boolean, fallback: boolean, name: string}>} */
export async function findGpu() {
  if (!navigator.gpu) return null;
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE, null));
  const asked = navigator.gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  const adapter = await Promise.race([asked, late]);
  if (!adapter) return null;
  const { vendor = '', architecture = '', description = '' } = adapter.info ?? {};
  return {
    f16: adapter.features.has('shader-f16'),
    fallback: Boolean(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter),
    name: description || [vendor, architecture].filter(Boolean).join(' '),
  };
}

/**
 * Whether this is WebKit on iOS or iPadOS, whatever the browser is called.
 * @param {{userAgent: string, platform?: string, maxTouchPoints?: number}} navigator
 */
export function isIos({ userAgent, platform = '', maxTouchPoints = 0 }) {
  return /iPad|iPhone|iPod/.test(userAgent) || (/Mac/.test(platform || userAgent) && maxTouchPoints > 1);
}

/** Wishes in the page's address: ?ep=webgpu|wasm, ?precision=fp16|fp32, ?threads=N. */
export function wishes(search) {
  const asked = new URLSearchParams(search);
  const among = (name, values) => (values.includes(asked.get(name)) ? asked.get(name) : undefined);
  return {
    ep: among('ep', ['webgpu', 'wasm']),
    precision: among('precision', ['fp16', 'fp32']),
    threads: Number.parseInt(asked.get('threads') ?? '', 10) || undefined,
  };
}
