// The one canvas: newest frame, newest mask, repainted when either changes and never more often than the screen.

export class View {
  #canvas;
  #context;
  #frame = null; // () => {picture, matrix, smoothing} of the moment
  #mask = document.createElement('canvas').getContext('2d');
  #asked = 0;

  /** 'both', 'picture' or 'mask' */
  show = 'both';
  /** of the mask, 0..1 */
  opacity = 0.45;
  /** Whether there is a mask. */
  hasMask = false;
  /** Memory of the last mask, to be painted again; whoever takes it sets it to null. @type {ArrayBuffer | null} */
  spare = null;
  /** ms of the last repaint */
  milliseconds = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => {picture: any, matrix: number[], smoothing: string} | null} frame
   */
  constructor(canvas, frame) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d', { alpha: false });
    this.#frame = frame;
  }

  /** @param {{width: number, height: number}} size of the model's picture */
  resize({ width, height }) {
    Object.assign(this.#canvas, { width, height });
    Object.assign(this.#mask.canvas, { width, height });
    this.#canvas.style.aspectRatio = `${width} / ${height}`;
  }

  /** @param {ArrayBuffer} rgba of the canvas's size; taken over */
  showMask(rgba) {
    const { width, height } = this.#canvas;
    this.#mask.putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
    this.spare = rgba;
    this.hasMask = true;
    this.repaint();
  }

  dropMask() {
    this.hasMask = false;
    this.repaint();
  }

  /** Before the screen's next frame; many calls make one repaint. */
  repaint() {
    this.#asked ||= requestAnimationFrame(() => {
      this.#asked = 0;
      this.#paint();
    });
  }

  #paint() {
    const begun = performance.now();
    const { width, height } = this.#canvas;
    const context = this.#context;
    const frame = this.#frame();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.fillRect(0, 0, width, height);
    if (frame && this.show !== 'mask') {
      context.imageSmoothingQuality = frame.smoothing;
      context.setTransform(...frame.matrix);
      context.drawImage(frame.picture, 0, 0);
      context.setTransform(1, 0, 0, 1, 0, 0);
    }
    if (this.hasMask && this.show !== 'picture') {
      context.globalAlpha = this.show === 'mask' ? 1 : this.opacity;
      context.drawImage(this.#mask.canvas, 0, 0);
    }
    this.milliseconds = performance.now() - begun;
  }

  /** What is on the canvas, as a PNG. @returns {Promise<Blob>} */
  snapshot() {
    this.#paint();
    return new Promise((resolve) => this.#canvas.toBlob(resolve, 'image/png'));
  }
}
