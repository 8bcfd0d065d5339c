// What the page says, and what it takes for a model.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { bytesTrouble, sha256 } from '../../demo/files.js';
import { CYAN, addressOf, plainPath, readManifest } from '../../demo/manifest.js';
import { TROUBLES, Trouble, bytesInWords, cameraTrouble, runtimeTrouble } from '../../demo/words.js';

const DEMO = new URL('../../demo/', import.meta.url);
const MANIFEST = {
  format: 1,
  classes: [{ name: 'background', colour: [0, 0, 0] }, { name: 'card', colour: [255, 255, 255] }],
  size: { width: 480, height: 640 },
  models: { fp32: { path: 'models/model.fp32.onnx' } },
  runtime: { wasm: { module: 'runtime/a.mjs', binary: 'runtime/a.wasm' }, webgpu: { module: 'runtime/b.mjs', binary: 'runtime/b.wasm' } },
  input: { name: 'input_1', layout: 'nhwc', type: 'uint8', channels: 3 },
  outputs: { probabilities: 'probabilities' },
};
const bytes = (text) => new TextEncoder().encode(text);

test('a manifest is completed: one class is cyan, class 0 the background', () => {
  const { classes, threshold } = readManifest(MANIFEST);
  assert.deepEqual(classes, [
    { name: 'background', colour: CYAN, background: true }, { name: 'card', colour: CYAN, background: false },
  ]);
  assert.equal(threshold, 0.5);
});

test('several classes keep their colours and may say which is the background', () => {
  const classes = [
    { name: 'sky', colour: [1, 2, 3] }, { name: 'rest', colour: [0, 0, 0], background: true }, { name: 'sea', colour: [4, 5, 6] },
  ];
  assert.deepEqual(readManifest({ ...MANIFEST, classes }).classes.map(({ background }) => background), [false, true, false]);
});

for (const [name, change] of [
  ['another format', { format: 2 }],
  ['no size', { size: undefined }],
  ['a size of text', { size: { width: '480', height: 640 } }],
  ['a huge size', { size: { width: 1e9, height: 1 } }],
  ['one class', { classes: [{ name: 'a', colour: [0, 0, 0] }] }],
  ['a colour outside', { classes: [{ name: 'a', colour: [0, 0, 0] }, { name: 'b', colour: [0, 0, 256] }] }],
  ['no model', { models: {} }],
  ['an unknown precision', { models: { int8: { path: 'a' } } }],
  ['a model on another host', { models: { fp32: { path: 'https://example.org/model.onnx' } } }],
  ['a runtime on another host', { runtime: { ...MANIFEST.runtime, wasm: { module: '//example.org/a.mjs', binary: 'a.wasm' } } }],
  ['a float input', { input: { layout: 'nchw', type: 'float32' } }],
  ['no output', { outputs: {} }],
]) {
  test(`a manifest with ${name} is refused`, () => {
    assert.throws(() => readManifest({ ...MANIFEST, ...change }), (error) => error.code === 'manifest');
  });
}

test('nothing is a manifest either', () => {
  for (const raw of [null, undefined, 3, [], 'text']) assert.throws(() => readManifest(raw), { code: 'manifest' });
});

test('paths stay inside the page', () => {
  for (const path of ['a.onnx', 'models/model.fp16.onnx', 'runtime/ort-wasm-simd-threaded.wasm']) assert.ok(plainPath(path));
  for (const path of ['/a', '../a', 'a/../b', 'https://x/y', 'data:,x', 'blob:x', 'a?b', '', 3, undefined]) assert.ok(!plainPath(path));
});

test('addresses carry the checksum', () => {
  assert.equal(addressOf({ path: 'a', sha256: 'ab'.repeat(32) }), 'a?h=abababababab');
  assert.equal(addressOf({ path: 'a' }), 'a');
});

test('files that are not what they should be are recognised', async () => {
  assert.equal(bytesTrouble(bytes('version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n'), { bytes: 3 }), 'pointer');
  assert.equal(bytesTrouble(bytes('<!DOCTYPE html><html></html>'), {}), 'html');
  assert.equal(bytesTrouble(bytes('\n <html lang="en">'), {}), 'html');
  assert.equal(bytesTrouble(bytes('\0asm'), { bytes: 5 }), 'wrong');
  assert.equal(bytesTrouble(bytes('\0asm'), { bytes: 4 }), '');
  assert.equal(await sha256(bytes('abc')), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('errors of cameras and runtimes have sentences', () => {
  for (const [name, code] of [
    ['NotAllowedError', 'denied'], ['NotFoundError', 'no-camera'], ['NotReadableError', 'busy'], ['TypeError', 'camera'],
  ]) assert.equal(cameraTrouble({ name, message: '' }).code, code);
  assert.equal(cameraTrouble(new Trouble('insecure')).code, 'insecure');
  for (const [message, code] of [
    ['RangeError: WebAssembly.Memory(): could not allocate memory', 'memory'],
    ['Array buffer allocation failed', 'memory'],
    ['Failed to fetch dynamically imported module: a.mjs', 'runtime-missing'],
    ['expected magic word 00 61 73 6d, found 3c 21 44 4f', 'runtime-missing'],
    ['anything else', 'unable'],
  ]) assert.equal(runtimeTrouble(message).code, code);
});

test('each trouble is one sentence, and one way on', () => {
  for (const [code, [what, way]] of Object.entries(TROUBLES)) {
    assert.match(what, /^[A-Z].*\.$/, code);
    assert.match(way, /^[A-Z].*\.$/, code);
  }
});

test('every trouble that is thrown has its sentence', () => {
  const sources = readdirSync(DEMO).filter((name) => name.endsWith('.js')).map((name) => readFileSync(new URL(name, DEMO), 'utf8'));
  const codes = sources.flatMap((text) => [...text.matchAll(/new Trouble\('([\w-]+)'/g)].map((found) => found[1]));
  assert.ok(codes.length > 10);
  // WebGPU that is slow or lost is always left for WebAssembly, which is neither.
  for (const code of codes) assert.ok(['slow', 'lost'].includes(code) || code in TROUBLES, code);
});

test('bytes in words', () => {
  assert.equal(bytesInWords(2_182_532), '2.2 MB');
  assert.equal(bytesInWords(4_300), '4 kB');
  assert.equal(bytesInWords(12), '1 kB');
});
