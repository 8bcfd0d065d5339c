// How a frame of any shape lies upright on the model's canvas: turned, then centre-cropped, never squashed.

/**
 * Quarter turns counter-clockwise that make a frame upright: a lying frame is turned for a model that stands.
 * @param {{width: number, height: number}} frame as delivered
 * @param {{width: number, height: number}} size of the model's picture
 */
export function uprightTurns(frame, size) {
  return frame.width > frame.height && size.height > size.width ? 1 : 0;
}

/**
 * The canvas transform that brings a frame onto the model's picture.
 * @param {{width: number, height: number}} frame as delivered, in pixels
 * @param {{width: number, height: number}} size of the model's picture
 * @param {number} turns quarter turns counter-clockwise, any whole number
 * @returns {{matrix: number[], scale: number}} arguments of setTransform, for drawing the whole frame at (0, 0): what lies
 *   outside the canvas is what the crop leaves out; and canvas pixels per frame pixel
 */
export function placement(frame, size, turns) {
  const { width: w, height: h } = frame;
  const quarter = ((turns % 4) + 4) % 4;
  // x' = a x + c y + e and y' = b x + d y + f, before scaling.
  const [a, b, c, d, e, f] = [
    [1, 0, 0, 1, 0, 0],
    [0, -1, 1, 0, 0, w],
    [-1, 0, 0, -1, w, h],
    [0, 1, -1, 0, h, 0],
  ][quarter];
  const turned = quarter % 2 ? { width: h, height: w } : { width: w, height: h };
  const scale = Math.max(size.width / turned.width, size.height / turned.height);
  const left = (size.width - scale * turned.width) / 2;
  const top = (size.height - scale * turned.height) / 2;
  return { matrix: [a * scale, b * scale, c * scale, d * scale, e * scale + left, f * scale + top], scale };
}

/** Where a point of the frame lands on the canvas. */
export function land([x, y], [a, b, c, d, e, f]) {
  return [a * x + c * y + e, b * x + d * y + f];
}

/**
 * Size to shrink a picture to before it is drawn again and again; twice the canvas is as sharp as it can look.
 * @returns {{width: number, height: number} | null} null where it is small enough already
 */
export function shrunk(picture, size, turns) {
  const { scale } = placement(picture, size, turns);
  if (scale >= 0.5) return null;
  return { width: Math.round(picture.width * scale * 2), height: Math.round(picture.height * scale * 2) };
}
