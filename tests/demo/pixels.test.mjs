// Arrays: halves, masks, the known picture, and the pace of frames.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asFloats, fromHalf } from '../../demo/half.js';
import { Mean, Pacer, Rate } from '../../demo/pacer.js';
import { dropAlpha, paintMask, soft } from '../../demo/paint.js';
import { difference, drawPatches } from '../../demo/selftest.js';

const CYAN = [0, 255, 255];
const TWO = [{ name: 'background', colour: [0, 0, 0], background: true }, { name: 'card', colour: CYAN }];
const THREE = [
  { name: 'background', colour: [0, 0, 0], background: true },
  { name: 'red', colour: [255, 0, 0] },
  { name: 'blue', colour: [0, 0, 255] },
];
const rgba = (word) => [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24];

test('halves', () => {
  for (const [bits, value] of [
    [0x0000, 0], [0x8000, -0], [0x3c00, 1], [0xbc00, -1], [0x3800, 0.5], [0x3555, 0.333251953125], [0x7bff, 65504],
    [0x0001, 2 ** -24], [0x03ff, 1023 * 2 ** -24], [0x0400, 2 ** -14], [0x7c00, Infinity], [0xfc00, -Infinity], [0x7e00, NaN],
  ]) assert.ok(Object.is(fromHalf(bits), value), `${bits.toString(16)} is ${value}`);
});

test('outputs are floats, whatever the browser calls halves', () => {
  const floats = new Float32Array([0.25, 0.5]);
  assert.equal(asFloats(floats), floats);
  assert.deepEqual(asFloats(Uint16Array.of(0x3800, 0x3c00)), new Float32Array([0.5, 1]));
  if (globalThis.Float16Array) assert.deepEqual(asFloats(Float16Array.of(0.5, 1)), new Float32Array([0.5, 1]));
});

for (const pixels of [1, 3, 4, 7, 64]) {
  test(`${pixels} pixels without their alpha`, () => {
    const bytes = Uint8Array.from({ length: 4 * pixels }, (_, n) => (n * 37 + 11) % 256);
    const rgb = new Uint8Array(3 * pixels);
    dropAlpha(new Uint32Array(bytes.buffer), rgb);
    assert.deepEqual([...rgb], [...bytes].filter((_, n) => n % 4 !== 3));
  });
}

test('one class is painted softly around the threshold, and counted exactly', () => {
  const probabilities = new Float32Array([0, 0.3, 0.5, 0.7, 1, 0.4999]);
  const words = new Uint32Array(6);
  assert.deepEqual(paintMask(probabilities, TWO, 0.5, words).map((share) => Math.round(share * 6)), [3, 3]);
  assert.deepEqual(rgba(words[0]), [0, 255, 255, 0]);
  assert.deepEqual(rgba(words[4]), [0, 255, 255, 255]);
  assert.ok(Math.abs(rgba(words[2])[3] - 128) < 3, 'half there at the threshold');
  assert.deepEqual(paintMask(probabilities, TWO, 0.2, words).map((share) => Math.round(share * 6)), [1, 5]);
});

test('the edge rises without a jump', () => {
  assert.equal(soft(-1), 0);
  assert.equal(soft(0), 0.5);
  assert.equal(soft(1), 1);
  for (let margin = -0.2; margin < 0.2; margin += 0.01) assert.ok(soft(margin + 0.01) >= soft(margin));
});

test('of several classes each has its colour, the background none, and edges are mixed', () => {
  const probabilities = new Float32Array([
    0.9, 0.1, 0.0, 0.0, 0.5, 0.3, // background
    0.1, 0.8, 0.1, 0.5, 0.5, 0.3, // red
    0.0, 0.1, 0.9, 0.5, 0.0, 0.4, // blue
  ]);
  const words = new Uint32Array(6);
  const shares = paintMask(probabilities, THREE, 0, words);
  assert.deepEqual(shares.map((share) => Math.round(share * 6)), [2, 2, 2]);
  const [background, red, blue, redBlue, backgroundRed] = [...words].map(rgba);
  assert.equal(background[3], 0);
  assert.deepEqual(red, [255, 0, 0, 255]);
  assert.deepEqual(blue, [0, 0, 255, 255]);
  assert.deepEqual(redBlue, [128, 0, 128, 255], 'no gap between two classes');
  assert.deepEqual(backgroundRed, [255, 0, 0, 128], 'a soft edge keeps its colour');
  paintMask(probabilities, THREE, 0.85, words);
  assert.deepEqual([...words].map((word) => rgba(word)[3] > 0), [false, false, true, false, false, false], 'uncertain pixels are left out');
});

test('the known picture is the one Python draws', () => {
  const rgb = drawPatches({ seed: 7, patch: 16 }, { width: 40, height: 20 });
  assert.equal(rgb.length, 40 * 20 * 3);
  let state = 7n;
  const next = () => Number((state = (state * 1664525n + 1013904223n) % 2n ** 32n) >> 24n);
  const colours = Array.from({ length: 2 * 3 * 3 }, next);
  for (const [x, y] of [[0, 0], [15, 15], [16, 0], [39, 0], [0, 16], [39, 19]]) {
    const patch = Math.floor(y / 16) * 3 + Math.floor(x / 16);
    assert.deepEqual([...rgb.slice(3 * (y * 40 + x), 3 * (y * 40 + x) + 3)], colours.slice(3 * patch, 3 * patch + 3));
  }
});

test('answers are compared on a grid; another shape or NaN is no answer', () => {
  const size = { width: 4, height: 4 };
  const wanted = { rows: 2, columns: 2, probabilities: [0, 255, 255, 0] };
  const right = new Float32Array(16);
  right[1 * 4 + 3] = right[3 * 4 + 1] = 1;
  assert.equal(difference(right, wanted, size), 0);
  assert.equal(difference(new Float32Array(16), wanted, size), 0.5);
  assert.equal(difference(new Float32Array(32), wanted, size), Infinity);
  assert.equal(difference(right.fill(NaN), wanted, size), Infinity);
});

test('one frame is in flight, and the newest wins', () => {
  const pacer = new Pacer();
  assert.ok(pacer.frame());
  assert.ok(!pacer.frame());
  assert.ok(!pacer.frame());
  assert.ok(!pacer.frame());
  assert.equal(pacer.dropped, 2, 'two were replaced, the third waits');
  assert.ok(pacer.done(), 'it is sent at once');
  assert.ok(!pacer.frame());
  assert.ok(pacer.done());
  assert.ok(!pacer.done(), 'nothing waits');
  assert.ok(pacer.frame());
  pacer.reset();
  assert.ok(pacer.frame());
});

test('rates and means', () => {
  const rate = new Rate();
  assert.equal(rate.perSecond(0), 0);
  for (let time = 0; time <= 1000; time += 100) rate.tick(time);
  assert.equal(rate.perSecond(1000), 10);
  assert.equal(rate.perSecond(9000), 0);
  const mean = new Mean();
  mean.add(10);
  assert.equal(mean.value, 10);
  mean.add(20);
  assert.equal(mean.value, 11);
});
