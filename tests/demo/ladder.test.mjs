// Decisions of the ladder, with adapters and browsers made up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { median, planRungs, raceLost, rungName, rungsAfter } from '../../demo/ladder.js';
import { hasSimd, isIos, wishes } from '../../demo/probe.js';
import { crashedOnGpu, markRunning } from '../../demo/sentinel.js';

const GPU = { f16: true, fallback: false };
const plain = { gpu: GPU, isolated: false, cores: 8, ios: false, crashed: false, override: {}, models: ['fp16', 'fp32'] };
const plan = (facts) => {
  const { rungs, skipped } = planRungs({ ...plain, ...facts });
  return { rungs: rungs.map(({ backend, precision }) => `${backend} ${precision}`), skipped, all: rungs };
};
const ALL = ['webgpu fp16', 'webgpu fp32', 'wasm fp16', 'wasm fp32'];

test('a full ladder', () => {
  const { rungs, skipped, all } = plan({});
  assert.deepEqual(rungs, ALL);
  assert.deepEqual(skipped, []);
  assert.ok(all.every((rung) => !rung.forced));
});

for (const [name, facts, rungs, reason] of [
  ['no adapter', { gpu: null }, ALL.slice(2), /no WebGPU adapter/],
  ['no 16-bit shaders', { gpu: { f16: false, fallback: false } }, ALL.slice(1), /16-bit/],
  ['a software adapter', { gpu: { f16: true, fallback: true } }, ALL.slice(2), /software/],
  ['iOS', { ios: true }, ALL.slice(2), /\?ep=webgpu/],
  ['a crash last time', { crashed: true }, ALL.slice(2), /last visit/],
  ['the address asks for wasm', { override: { ep: 'wasm' } }, ALL.slice(2), /address/],
]) {
  test(`left out, with a reason: ${name}`, () => {
    const found = plan(facts);
    assert.deepEqual(found.rungs, rungs);
    assert.ok(found.skipped.length && found.skipped.every(({ why }) => reason.test(why)), JSON.stringify(found.skipped));
  });
}

test('?ep=webgpu is stronger than caution', () => {
  for (const facts of [{ ios: true }, { crashed: true }, { gpu: { f16: true, fallback: true } }]) {
    const { rungs, all } = plan({ ...facts, override: { ep: 'webgpu' } });
    assert.deepEqual(rungs, ALL);
    assert.deepEqual(all.map(({ forced }) => forced), [true, true, false, false]);
  }
});

test('?ep=webgpu cannot make an adapter', () => {
  assert.deepEqual(plan({ gpu: null, override: { ep: 'webgpu' } }).rungs, ALL.slice(2));
});

test('?ep=webgpu&precision=fp16 is tried whatever the adapter says; the rest of the ladder stays below', () => {
  const { rungs } = plan({ gpu: { f16: false, fallback: true }, override: { ep: 'webgpu', precision: 'fp16' } });
  assert.deepEqual(rungs, ALL);
});

test('?ep=wasm&precision=fp32 comes first', () => {
  assert.deepEqual(plan({ override: { ep: 'wasm', precision: 'fp32' } }).rungs, ['wasm fp32', 'wasm fp16']);
});

test('a precision without a file is no rung', () => {
  assert.deepEqual(plan({ models: ['fp32'] }).rungs, ['webgpu fp32', 'wasm fp32']);
});

test('threads only on isolated pages, at most four, as many as there are', () => {
  const threads = (facts) => planRungs({ ...plain, gpu: null, ...facts }).rungs[0].threads;
  assert.equal(threads({ isolated: false }), 1);
  assert.equal(threads({ isolated: true }), 4);
  assert.equal(threads({ isolated: true, cores: 2 }), 2);
  assert.equal(threads({ isolated: true, cores: undefined }), 1);
  assert.equal(threads({ isolated: true, override: { threads: 1 } }), 1);
  assert.equal(threads({ isolated: false, override: { threads: 3 } }), 1);
});

test('rungs have names', () => {
  assert.equal(rungName({ backend: 'webgpu', precision: 'fp16', threads: 1 }), 'WebGPU FP16');
  assert.equal(rungName({ backend: 'wasm', precision: 'fp32', threads: 1 }), 'WebAssembly FP32, 1 thread');
  assert.equal(rungName({ backend: 'wasm', precision: 'fp16', threads: 4 }), 'WebAssembly FP16, 4 threads');
});

test('a race is lost only by a GPU that is slow and slower', () => {
  assert.equal(raceLost(30, 10), '');
  assert.equal(raceLost(95, 90), '');
  assert.match(raceLost(250, 90), /250 ms.*90 ms/);
  assert.equal(median([30, 10, 20]), 20);
});

test('a slow or lost GPU is not tried in another precision, a wrong one is', () => {
  const { rungs } = planRungs(plain);
  const after = (code) => rungsAfter(rungs.slice(1), code).map(({ backend }) => backend);
  assert.deepEqual(after('slow'), ['wasm', 'wasm']);
  assert.deepEqual(after('lost'), ['wasm', 'wasm']);
  assert.deepEqual(after('wrong'), ['webgpu', 'wasm', 'wasm']);
});

test('browsers are told apart', () => {
  assert.ok(isIos({ userAgent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X)' }));
  assert.ok(isIos({ userAgent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15)', platform: 'MacIntel', maxTouchPoints: 5 }));
  assert.ok(!isIos({ userAgent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15)', platform: 'MacIntel', maxTouchPoints: 0 }));
  assert.ok(!isIos({ userAgent: 'Mozilla/5.0 (X11; Linux x86_64)', platform: 'Linux x86_64', maxTouchPoints: 10 }));
  assert.ok(hasSimd());
});

test('wishes in the address, and nonsense', () => {
  assert.deepEqual(wishes('?ep=webgpu&precision=fp16&threads=2'), { ep: 'webgpu', precision: 'fp16', threads: 2 });
  assert.deepEqual(wishes('?ep=cuda&precision=int8&threads=many'), { ep: undefined, precision: undefined, threads: undefined });
});

test('a visit that ended while WebGPU ran makes the next days cautious', () => {
  const kept = new Map();
  globalThis.localStorage = {
    getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key),
  };
  const day = 24 * 3600 * 1000, now = 100 * day;
  assert.ok(!crashedOnGpu(now));
  markRunning('webgpu');
  markRunning('');
  assert.ok(!crashedOnGpu(now), 'it ended well');
  markRunning('wasm');
  assert.ok(!crashedOnGpu(now), 'WebAssembly ran');
  markRunning('webgpu');
  assert.ok(crashedOnGpu(now));
  assert.ok(crashedOnGpu(now + 6 * day));
  assert.ok(!crashedOnGpu(now + 8 * day));
  delete globalThis.localStorage;
  assert.ok(!crashedOnGpu(now), 'no storage, no memory');
});
