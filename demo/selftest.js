// A picture that anybody can draw from a number, and the comparison of the network's answer with the known one.

/**
 * Patches of colour from a 32-bit linear congruential generator; Python draws the same.
 * @param {{seed: number, patch: number}} test
 * @param {{width: number, height: number}} size
 * @returns {Uint8Array} height x width x 3, RGB
 */
export function drawPatches({ seed, patch }, { width, height }) {
  const columns = Math.ceil(width / patch);
  const colours = new Uint8Array(Math.ceil(height / patch) * columns * 3);
  let state = seed >>> 0;
  for (let i = 0; i < colours.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    colours[i] = state >>> 24;
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor(y / patch) * columns;
    for (let x = 0; x < width; x++) {
      const from = 3 * (row + Math.floor(x / patch));
      rgb[at++] = colours[from];
      rgb[at++] = colours[from + 1];
      rgb[at++] = colours[from + 2];
    }
  }
  return rgb;
}

/**
 * Mean difference of probabilities on a grid of points.
 * @param {Float32Array} probabilities channels x height x width
 * @param {{rows: number, columns: number, probabilities: number[]}} test expected, 0..255: channels x rows x columns
 * @param {{width: number, height: number}} size
 * @returns {number} 0..1; Infinity where the answer has another shape or is not a number
 */
export function difference(probabilities, { rows, columns, probabilities: expected }, { width, height }) {
  const channels = probabilities.length / (width * height);
  if (expected.length !== channels * rows * columns || !expected.length) return Infinity;
  let sum = 0;
  for (let c = 0, at = 0; c < channels; c++) {
    for (let row = 0; row < rows; row++) {
      const y = Math.floor(((row + 0.5) * height) / rows);
      for (let column = 0; column < columns; column++) {
        const x = Math.floor(((column + 0.5) * width) / columns);
        sum += Math.abs(probabilities[(c * height + y) * width + x] - expected[at++] / 255);
      }
    }
  }
  return Number.isFinite(sum) ? sum / expected.length : Infinity;
}
