// The network, in a thread of its own: opens one rung, proves it on a known picture, then answers a frame with a mask.
//
// in:  {type: 'open', rung, manifest, model, binary, moduleUrl}    once
//      {type: 'frame', bitmap, matrix, smoothing, threshold, spare}  answered by one 'mask'
//      {type: 'look', threshold}                                    paint the last answer again; answered by one 'mask'
// out: {type: 'stage', stage}, {type: 'opened', milliseconds}, {type: 'failed', stage, message, code?}, {type: 'lost', message}
//      {type: 'mask', rgba, shares, fresh, times: {prepare, network, paint}, tensors}

import { asFloats } from './half.js';
import { FAST_ENOUGH, median, raceLost } from './ladder.js';
import { dropAlpha, paintMask } from './paint.js';
import { difference, drawPatches } from './selftest.js';
import { Trouble } from './words.js';

const TURNS = 3; // runs that a race is decided by

let ort, session, manifest, frame;
let answer = null; // probabilities of the last frame
let spare = null; // memory of a mask that is no longer shown
let tensors = 0; // alive

async function open({ rung, manifest: description, model, binary, moduleUrl }) {
  let stage = 'runtime';
  const begin = (name) => postMessage({ type: 'stage', stage: (stage = name) });
  try {
    manifest = description;
    begin('runtime');
    ort = await import(moduleUrl);
    ort.env.logLevel = 'error';
    ort.env.wasm.numThreads = rung.threads;
    ort.env.wasm.wasmBinary = binary;
    begin('session');
    session = await newSession(model, rung.backend);
    if (rung.backend === 'webgpu') watchDevice();
    makeRoom();
    begin('proof');
    let milliseconds = await prove(rung.precision);
    if (rung.backend === 'webgpu' && !rung.forced) milliseconds = await race(model, begin);
    postMessage({ type: 'opened', milliseconds });
  } catch (error) {
    const code = error.code ?? (stage === 'runtime' ? 'runtime-missing' : undefined);
    postMessage({ type: 'failed', stage, code, message: String(error?.message ?? error) });
  }
}

function newSession(model, backend) {
  return ort.InferenceSession.create(model, { executionProviders: [backend], graphOptimizationLevel: 'all' });
}

async function watchDevice() {
  const device = await ort.env.webgpu.device;
  const { message, reason } = await device.lost;
  postMessage({ type: 'lost', message: message || reason || 'the graphics device was lost' });
}

/** Everything that every frame uses again. */
function makeRoom() {
  const { width, height } = manifest.size;
  const pixels = new Uint8Array(width * height * 3);
  frame = {
    context: new OffscreenCanvas(width, height).getContext('2d', { alpha: false, willReadFrequently: true }),
    pixels,
    feeds: { [manifest.input.name]: new ort.Tensor('uint8', pixels, [1, height, width, 3]) },
  };
  tensors = 1;
}

/** Run on what `frame.pixels` holds. @returns {Promise<Float32Array>} channels x height x width */
async function run(on = session) {
  const { probabilities: name } = manifest.outputs;
  const { [name]: tensor } = await on.run(frame.feeds, [name]);
  tensors++;
  const values = asFloats(tensor.data);
  tensor.dispose();
  tensors--;
  return values;
}

/** Compare with the known answer; where the manifest has none, the first run shows at least that it runs. */
async function prove(precision) {
  const { selftest, size } = manifest;
  frame.pixels.set(drawPatches(selftest ?? { seed: 1, patch: 32 }, size));
  const values = await run();
  const channels = manifest.classes.length === 2 ? 1 : manifest.classes.length;
  if (values.length !== channels * size.width * size.height) {
    throw new Trouble('wrong', `the network answered ${values.length} numbers`);
  }
  if (selftest) {
    const found = difference(values, selftest, size);
    const most = selftest.tolerance?.[precision] ?? 0.03;
    if (!(found <= most)) throw new Trouble('wrong', `its answer to a known picture is off by ${found.toFixed(3)} on average`);
  }
  const begun = performance.now();
  await run();
  return performance.now() - begun;
}

/** A slow GPU runs against WebAssembly, which the WebGPU build of the runtime brings along. */
async function race(model, begin) {
  begin('race');
  const gpu = await timed(session);
  if (gpu <= FAST_ENOUGH) return gpu;
  const rival = await newSession(model, 'wasm');
  await run(rival);
  const lost = raceLost(gpu, await timed(rival));
  await rival.release();
  if (lost) throw new Trouble('slow', lost);
  return gpu;
}

async function timed(on) {
  const times = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const begun = performance.now();
    await run(on);
    times.push(performance.now() - begun);
  }
  return median(times);
}

async function answerFrame({ bitmap, matrix, smoothing, threshold, spare: given }) {
  spare = given ?? spare;
  const begun = performance.now();
  const { width, height } = manifest.size;
  const { context } = frame;
  context.imageSmoothingQuality = smoothing;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillRect(0, 0, width, height); // under pictures with transparent parts
  context.setTransform(...matrix);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  dropAlpha(new Uint32Array(data.buffer), frame.pixels);
  const prepared = performance.now();
  answer = await run();
  sendMask(threshold, { prepare: prepared - begun, network: performance.now() - prepared });
}

/**
 * Paint and send. Plain memory is handed over and comes back: to hand over an ImageBitmap takes up to 15 ms in Chromium.
 * @param {{prepare: number, network: number} | null} times of the frame this mask is the first of
 */
function sendMask(threshold, times) {
  const begun = performance.now();
  const { width, height } = manifest.size;
  const rgba = spare ?? new ArrayBuffer(4 * width * height);
  spare = null;
  const shares = paintMask(answer, manifest.classes, threshold, new Uint32Array(rgba));
  const paint = performance.now() - begun;
  postMessage({ type: 'mask', rgba, shares, fresh: Boolean(times), times: { ...times, paint }, tensors }, [rgba]);
}

onmessage = async ({ data }) => {
  if (data.type === 'open') await open(data);
  else if (data.type === 'look') answer && sendMask(data.threshold, null);
  else {
    try {
      await answerFrame(data);
    } catch (error) {
      postMessage({ type: 'failed', stage: 'run', message: String(error?.message ?? error) });
    }
  }
};
