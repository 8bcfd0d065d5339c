// Turning, cropping and what is asked of cameras.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asksTooMuch, cameraLadder, cameraName, chosenCamera } from '../../demo/constraints.js';
import { land, placement, shrunk, uprightTurns } from '../../demo/geometry.js';

const CARD = { width: 480, height: 640 };
const corners = ({ width, height }) => ({
  topLeft: [0, 0], topRight: [width, 0], bottomLeft: [0, height], bottomRight: [width, height],
});
const near = (found, wanted) => found.forEach((value, n) => assert.ok(Math.abs(value - wanted[n]) < 1e-9, `${found} is not ${wanted}`));

test('a lying frame is turned counter-clockwise for a standing model, and only then', () => {
  assert.equal(uprightTurns({ width: 640, height: 480 }, CARD), 1);
  assert.equal(uprightTurns({ width: 480, height: 640 }, CARD), 0);
  assert.equal(uprightTurns({ width: 500, height: 500 }, CARD), 0);
  assert.equal(uprightTurns({ width: 640, height: 480 }, { width: 256, height: 256 }), 0);
  assert.equal(uprightTurns({ width: 480, height: 640 }, { width: 640, height: 480 }), 0);
});

test('turned counter-clockwise: the top right corner comes to the top left', () => {
  const frame = { width: 640, height: 480 };
  const { matrix, scale } = placement(frame, CARD, 1);
  assert.equal(scale, 1);
  assert.deepEqual(matrix, [0, -1, 1, 0, 0, 640]);
  const { topLeft, topRight, bottomLeft, bottomRight } = corners(frame);
  near(land(topRight, matrix), [0, 0]);
  near(land(topLeft, matrix), [0, 640]);
  near(land(bottomRight, matrix), [480, 0]);
  near(land(bottomLeft, matrix), [480, 640]);
});

for (const [width, height] of [[640, 480], [480, 640], [1280, 720], [720, 1280], [500, 500], [3, 4], [4032, 3024], [641, 359]]) {
  for (const turns of [-1, 0, 1, 2, 3, 4, 5]) {
    test(`${width}x${height} turned ${turns} times covers the canvas, centred and not squashed`, () => {
      const { matrix, scale } = placement({ width, height }, CARD, turns);
      const [a, b, c, d] = matrix;
      assert.ok(Math.abs(a * a + b * b - scale * scale) < 1e-9 && Math.abs(c * c + d * d - scale * scale) < 1e-9);
      assert.ok(Math.abs(a * d - b * c - scale * scale) < 1e-9, 'no mirror image');
      near(land([width / 2, height / 2], matrix), [CARD.width / 2, CARD.height / 2]);
      const points = Object.values(corners({ width, height })).map((point) => land(point, matrix));
      for (const [axis, side] of [[0, CARD.width], [1, CARD.height]]) {
        assert.ok(Math.min(...points.map((point) => point[axis])) < 1e-9);
        assert.ok(Math.max(...points.map((point) => point[axis])) > side - 1e-9);
      }
    });
  }
}

test('large pictures are shrunk to twice the canvas, small ones are left', () => {
  assert.deepEqual(shrunk({ width: 3024, height: 4032 }, CARD, 0), { width: 960, height: 1280 });
  assert.deepEqual(shrunk({ width: 4032, height: 3024 }, CARD, 1), { width: 1280, height: 960 });
  assert.equal(shrunk({ width: 960, height: 1280 }, CARD, 0), null);
});

test('the ladder begins with exactly the portrait size, uncropped, then takes what the camera has', () => {
  const asks = cameraLadder('', CARD).map(({ video, audio }) => [video, audio]);
  assert.deepEqual(asks[0], [{
    facingMode: { ideal: 'environment' }, width: { exact: 480 }, height: { exact: 640 }, resizeMode: { exact: 'none' },
  }, false]);
  assert.deepEqual(asks[1][0], {
    facingMode: { ideal: 'environment' }, width: { ideal: 640 }, height: { ideal: 480 }, resizeMode: 'none',
  });
  assert.deepEqual(asks[2][0], { facingMode: { ideal: 'environment' } });
  assert.equal(asks.length, 3);
});

test('a chosen camera is asked for by its id, and if it has gone any will do', () => {
  const asks = cameraLadder('abc', CARD).map(({ video }) => video);
  for (const video of asks.slice(0, 3)) assert.deepEqual(video.deviceId, { exact: 'abc' });
  assert.equal(asks[3], true);
});

test('a small model is still given a picture worth looking at', () => {
  const { video } = cameraLadder('', { width: 48, height: 64 })[0];
  assert.deepEqual([video.width.exact, video.height.exact], [480, 640]);
});

test('only wishes that are too high are lowered', () => {
  assert.ok(asksTooMuch({ name: 'OverconstrainedError' }));
  for (const name of ['NotAllowedError', 'NotFoundError', 'NotReadableError', 'AbortError']) assert.ok(!asksTooMuch({ name }));
});

test('the remembered camera is found by id, else by name', () => {
  const cameras = [{ deviceId: 'a', label: 'Front' }, { deviceId: 'b', label: 'Back' }];
  assert.equal(chosenCamera(cameras, { id: 'b', label: 'Front' }), 'b');
  assert.equal(chosenCamera(cameras, { id: 'old', label: 'Back' }), 'b');
  assert.equal(chosenCamera(cameras, { id: 'old', label: 'Gone' }), 'a');
  assert.equal(chosenCamera(cameras, null), 'a');
  assert.equal(chosenCamera([{ deviceId: '', label: '' }], { id: '', label: '' }), '');
  assert.equal(chosenCamera([], null), '');
});

test('cameras have a name before the browser tells it', () => {
  assert.equal(cameraName({ label: '' }, 0, 1), 'Camera');
  assert.equal(cameraName({ label: '' }, 1, 2), 'Camera 2');
  assert.equal(cameraName({ label: 'HD Webcam (046d:0825)' }, 0, 1), 'HD Webcam');
});
